"""What the README says is there: its first steps, its commands, its options and its Python."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments import config
from experiments.command.suggestions import check_key

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
# In a block of their own, or in a table's cell.
COMMANDS = sorted(
    {*re.findall(r"^ {4}(python -m experiments.*)$", TEXT, re.M), *re.findall(r"`(python -m exp.*?)`", TEXT)}
)


def test_the_first_steps_come_first() -> None:
    steps = [
        "Python 3.11",
        "clone of this repository",
        "python -m venv",
        "python -m pip install -c constraints.txt",
        "python -m experiments.run with backend=",
        "For an NVIDIA GPU install",
        "docs/curves.png",
        "## Your photographs in five commands",
        "## Your own data",
    ]
    places = [TEXT.index(step) for step in steps]
    assert places == sorted(places)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"


def test_five_commands_are_five() -> None:
    part = TEXT.partition("## Your photographs in five commands")[2].partition("```python")[0]
    assert len(re.findall(r"^ {4}python -m ", part, re.M)) == 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one(command: str) -> None:
    words = shlex.split(command, comments=True)[2:]
    assert find_spec(words[0]) is not None
    swept = words[words.index("over") + 1 : words.index("with")] if "over" in words else []
    given = words[words.index("with") + 1 :] if "with" in words else []
    # One value of each key that is swept, and a folder that could be a run's.
    given = [word for word in given if not word.startswith(("-", "resume="))][: len(given)]
    read = [*given, *(word.partition(",")[0] for word in swept)]
    config.read([word.replace("FOLDER", "digits") for word in read if word != "a comment"])


def test_the_options_are_few_and_known() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", TEXT.partition("| option | meaning |")[2].partition("\n\n")[0], re.M)
    assert 8 <= len(rows) <= 9
    for key in re.findall(r"`([\w.]+)=", "".join(rows)):
        check_key(key)


def test_its_python_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    imported = {alias.name for block in blocks for node in ast.walk(ast.parse(block)) for alias in names(node)}
    assert {"pymongo", "load_student", "distill", "queries"} <= imported


def names(node: ast.AST) -> list[ast.alias]:
    return node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []

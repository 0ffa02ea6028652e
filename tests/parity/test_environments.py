"""Each test is run by one of tox's environments at least: what none of them selects would never fail."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def selections() -> dict[str, tuple[str, str]]:
    """Of each environment that runs tests: its PATIENT_BACKEND and what it selects."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(TESTS.parent / "tox.ini")
    found = {}
    for name in tox.sections():
        marks = re.search(r'-m "([^"]+)"', tox[name].get("commands", ""))
        if marks:
            backend = re.search(r"PATIENT_BACKEND = (\w+)", tox[name]["set_env"])
            assert backend, name
            found[name] = (backend[1], marks[1])
    return found


def selected(backend: str, marks: str) -> set[str]:
    """The tests that one environment runs, `file::function`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PATIENT_")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", marks]
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environment | {"PATIENT_BACKEND": backend}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}


def written() -> set[str]:
    """The tests that there are."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        names = [each.name for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.FunctionDef)]
        found |= {f"{path.relative_to(TESTS.parent)}::{name}" for name in names if name.startswith("test_")}
    return found


def test_none_is_left_out() -> None:
    environments = selections()
    assert len(environments) == 5, environments
    run = set().union(*(selected(*each) for each in environments.values()))
    assert written() - run == set()

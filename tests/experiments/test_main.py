"""`python -m experiments` lists commands that are there."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from pathlib import Path

import experiments
from experiments.__main__ import COMMANDS

PROJECT = Path(__file__).parents[2]


def test_the_commands_are_listed() -> None:
    done = subprocess.run([sys.executable, "-m", "experiments"], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for name, summary in COMMANDS.items():
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [f"experiments.{name}"]]
        assert line.endswith(summary)


def test_the_commands_are_there_and_no_other_is() -> None:
    for name in COMMANDS:
        assert util.find_spec(f"experiments.{name}"), name
    folder = PROJECT / "experiments"
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__main__.py")}
    runnable = {
        name
        for name in modules - {"__init__", "__main__"}
        if (folder / name / "__main__.py").is_file()
        or "__name__ ==" in (folder / f"{name}.py").read_text(encoding="utf-8")
    }
    assert runnable == set(COMMANDS)


def test_distill_is_in_the_package() -> None:
    assert callable(experiments.distill)
    assert not hasattr(experiments, "distil")

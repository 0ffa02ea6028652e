"""The words of `python -m experiments.run`: help, recipes, and mistakes that leave nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from experiments.recipes import NOTES
from experiments.run import PROGRAM
from experiments.tracking.folders import run_folders
from tests.test_layers import BLOCK


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("backend=nope",), "backend = 'nope': allowed: jax, tensorflow, torch"),
        (("optimizer.lrr=1",), "unknown key 'optimizer.lrr': did you mean 'lr'?"),
        (("batch_size=-3",), "batch_size = -3: must be 1 to 1048576 examples"),
    ],
)
def test_mistakes_in_words_leave_no_run(commands: Any, said: Any, words: tuple[str, ...], told: str) -> None:
    done = commands("experiments.run", "with", "digits", *words)
    assert told in said(done, 2)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert run_folders(commands.root) == []
    assert not (commands.root / "mongod").exists()


def test_a_backend_that_is_not_installed(commands: Any, said: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(blocked=["torch"]))
    done = commands("experiments.run", "with", "digits", "backend=torch", PYTHONPATH=str(tmp_path))
    assert "backend 'torch' is not installed" in said(done, 2)
    assert 'pip install -c constraints.txt -e ".[torch]"' in done.stderr
    assert run_folders(commands.root) == []


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["with", "digits", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main(words) == 0
    out = capsys.readouterr().out
    assert "usage: python -m experiments.run" in out
    for word in ("digits_long", "optimizer.name=adamw ", "teacher.name=glyphs ", "-m ADDRESS", "exit codes"):
        assert word in out


def test_recipes_are_sacred_s_named_configs(capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main(["print_named_configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, note in NOTES.items():
        (line,) = [line for line in lines if line.strip().startswith(f"{name}\x1b")]
        assert note in line
        assert f"python -m experiments.{'teacher' if name.endswith('_teacher') else 'run'} with {name}" in line


def test_print_config(commands: Any) -> None:
    done = commands("experiments.run", "print_config", "with", "digits", "seed=3", "teacher=mine:build")
    assert done.returncode == 0, done.stderr
    assert "total_epochs = 3000" in done.stdout
    assert re.search(r"seed = 3\b", done.stdout)
    assert "mine:build" in done.stdout
    assert run_folders(commands.root) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["digits"], "write 'with' before KEY=VALUE and recipes"),
        (["seed=3"], "write 'with' before KEY=VALUE and recipes"),
        (["print_confg", "with", "digits"], "there is no command 'print_confg': did you mean 'print_config'?"),
        (["with", "digit"], "no recipe 'digit': did you mean 'digits'?"),
        (["--nosuch"], "unknown option --nosuch: --help lists the options and keys"),
        (["-J", "-m", "x", "with", "digits", "backend=nope"], "backend = 'nope'"),
        (["with", "digits", "threads=0"], "threads = 0: must be 1 or more, or None"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert len(err.splitlines()) == 1

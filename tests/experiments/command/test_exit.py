"""Every way out of a command: its code, its one line, and no secret in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from experiments.command import exit as exits
from experiments.command.exit import Parser, add_debug, ended, guarded
from framework.errors import UserError

NAME = "experiments.some"


class Asked(Exception):
    """As Sacred's interrupts are."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.STATUS = status


def raising(error: BaseException) -> Any:
    def call() -> int:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("seed = x: a\n  number"), exits.MISTAKE, "seed = x: a number"),
        (UserError("can't reach mongodb://ann:hush@db/x"), exits.MISTAKE, "can't reach mongodb://***@db/x"),
        (KeyboardInterrupt(), exits.INTERRUPTED, "interrupted"),
        (Asked("INTERRUPTED"), exits.INTERRUPTED, "interrupted"),
        (Asked("PREEMPTED"), exits.PREEMPTED, "preempted"),
        (
            OSError(28, "No space left", "f"),
            exits.FAULT,
            "OSError: [Errno 28] No space left: 'f'; -d shows the traceback",
        ),
        (
            OSError(28, "No space left"),
            exits.FAULT,
            "OSError: [Errno 28] No space left (runs and caches are in /some/where); -d shows the traceback",
        ),
        (ZeroDivisionError("by token=abc"), exits.FAULT, "ZeroDivisionError: by token=***; -d shows the traceback"),
        (
            DeprecationWarning("old"),
            exits.MISTAKE,
            "DeprecationWarning, leave out python's -W error and PYTHONWARNINGS, which make an error of it: old",
        ),
        (
            ServerSelectionTimeoutError("db:1: refused (configured timeouts: a, b), Timeout: 5s\nmore"),
            exits.FAULT,
            "ServerSelectionTimeoutError: db:1: refused; -d shows the traceback",
        ),
    ],
)
def test_an_end_is_a_code_and_a_line(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", "/some/where")
    assert guarded(NAME, raising(error)) == code
    assert capsys.readouterr() == ("", f"{NAME}: {told}\n")


def test_a_command_that_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(NAME, lambda: 7) == 7
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert guarded(NAME, lambda: 7) == exits.MISTAKE
    assert capsys.readouterr().err == f"{NAME}: the current folder has been removed: change to another\n"


def test_other_ways_out_are_not_ours() -> None:
    with pytest.raises(SystemExit):
        guarded(NAME, raising(SystemExit(3)))


@pytest.mark.parametrize("error", [ValueError("token=abc"), UserError("token=abc")])
def test_debug_shows_the_traceback_without_secrets(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    guarded(NAME, raising(error), debug=True)
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert "in call" in told
    assert told.splitlines()[-1].startswith(f"{NAME}: ")
    assert "-d shows" not in told
    assert "abc" not in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("a"), "a"),
        (Asked("PREEMPTED"), "PREEMPTED: step 3"),
        (KeyboardInterrupt(), "INTERRUPTED: step 3"),
        (ValueError("a"), "ValueError: a; step 3; -d shows the traceback"),
    ],
)
def test_what_is_kept_is_told(error: BaseException, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended(NAME, error, kept="step 3")
    assert capsys.readouterr().err == f"{NAME}: {told}\n"


def test_a_mistake_on_the_command_line_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog=f"python -m {NAME}")
    add_debug(parser.add_subparsers(required=True).add_parser("list"))
    for words in (["--nosuch"], ["list", "-m", "mongodb://a:hush@b"]):
        with pytest.raises(SystemExit) as end:
            parser.parse_args(words)
        assert end.value.code == exits.MISTAKE
        told = capsys.readouterr().err
        assert (told.startswith(f"{NAME}: "), told.count("\n"), "hush" in told) == (True, 1, False)
    assert parser.parse_args(["list", "-d"]).debug

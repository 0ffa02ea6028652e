"""Lines say where a run is; a bar is for terminals only."""

from __future__ import annotations

import io
import sys

import pytest

from framework.loop import progress
from framework.loop.progress import Bar, Lines, Progress

SIZES = {"total_steps": 10, "batch_size": 50, "num_examples": 100}


def test_the_last_step_has_a_line_with_all_that_counts(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(**SIZES)
    lines.show({"loss": 0.25, "grad_norm": 3.0})
    lines.show({"validation.student.accuracy": 0.5})
    for step in range(1, 11):
        lines.update(step)
    lines.close()
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("step 10/10, epoch 5/5, loss 0.25, val acc 0.5, ")
    assert line.endswith(" img/s, 0 s left")
    assert "grad_norm" not in line


def test_lines_come_at_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    often, seldom = Lines(**SIZES, seconds=0.0), Lines(**SIZES, seconds=1e9)
    for step in range(1, 6):
        often.update(step)
        seldom.update(step)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"step {n}/10" for n in range(1, 6)
    ]


def test_what_was_done_before_is_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(**SIZES, done=8, seconds=1e9)
    lines.update(9)
    assert lines._clock is not None
    since, first = lines._clock
    lines._clock = (since - 100.0, first)  # one step in a hundred seconds
    lines.update(10)
    assert "epoch 5/5, 0 img/s" in capsys.readouterr().err


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Progress()
    silent.update(1)
    silent.show({"loss": 1.0})
    silent.close()
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress.make(**SIZES)
    assert isinstance(bar, Bar)
    bar.show({"loss": 0.125})
    for step in range(1, 11):
        bar.update(step)
    bar.show({"loss": 0.0625})
    bar.close()
    text = terminal.getvalue()
    assert "step 10/10" in text
    assert "epoch 5/5" in text
    assert "loss 0.0625" in text


def test_a_bar_is_not_captured_as_output(monkeypatch: pytest.MonkeyPatch) -> None:
    capturing = pytest.importorskip("sacred.stdout_capturing")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with capturing.tee_output_python() as captured:
        bar = progress.make(**SIZES)
        bar.update(10)
        bar.close()
        print("a line", file=sys.stderr)
    assert "step 10/10" in terminal.getvalue()
    assert captured.get() == "a line\n"


def test_a_long_run_says_less_and_less(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines = Lines(10**9, 1, 1)
    for step in range(1, 30 * 24 * 360):
        lines.update(step)
        now += 10.0
    told = len(capsys.readouterr().err.splitlines())
    # A month of steps of ten seconds: a line in five minutes, and some more at its beginning.
    assert 8_000 < told < 10_000


def test_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress.make(**SIZES), Lines)

"""Pipes and terminals that close while a command writes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.command.exit import guarded

PROJECT = Path(__file__).parents[3]
# Says a word, waits for a line, and says a lot more than any pipe's buffer takes.
CHATTY = """
import sys
from experiments.command.exit import guarded, say

def call():
    print("first", flush=True)
    sys.stdin.readline()
    for _ in range(20000):
        print("more", file=sys.stdout)
        print("more", file=sys.stderr)
    say("experiments.some", "the last word")
    open(sys.argv[1], "w").close()
    return 7

sys.exit(guarded("experiments.some", call))
"""


def start(reached: Path, output: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHATTY, str(reached)]
    return subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True, start_new_session=True
    )


@pytest.mark.parametrize("opened", [os.pipe, pty.openpty])
def test_a_reader_that_goes_away_ends_no_command(opened: object, tmp_path: Path) -> None:
    reader, writer = opened()  # type: ignore[operator]
    process = start(tmp_path / "reached", writer)
    os.close(writer)
    assert os.read(reader, 5) == b"first"
    os.close(reader)
    process.communicate("go on\n", timeout=60)
    # Python itself ends with 120 where it can't flush at its end.
    assert process.returncode == 7
    assert (tmp_path / "reached").exists()


def test_a_command_without_any_output_runs(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -c '{CHATTY}' {tmp_path / 'reached'} >&- 2>&- </dev/null"
    assert subprocess.run(["sh", "-c", command], cwd=PROJECT, check=False, timeout=60).returncode == 7
    assert (tmp_path / "reached").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_finds_no_room_is_a_fault() -> None:
    code = (
        "import sys; from experiments.command.exit import guarded; sys.exit(guarded('some', lambda: print('x') or 0))"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "some: not all of the output could be written: No space left on device\n",
    )


def test_the_streams_are_what_they_were_afterwards() -> None:
    before = sys.stdout, sys.stderr
    seen = []
    assert guarded("experiments.some", lambda: seen.append(sys.stdout) or 0) == 0
    assert (sys.stdout, sys.stderr) == before
    assert seen != [before[0]]

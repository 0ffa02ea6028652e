"""Ctrl-C before a command has begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3]
# In place of a library that the commands import.
SLOW = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"


def told(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code and stderr of a process of Python's that is interrupted when it imports `docopt`."""
    (folder / "docopt.py").write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{PROJECT}"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_ctrl_c_while_a_command_is_imported_is_a_line(tmp_path: Path) -> None:
    assert told(tmp_path, "-m", "experiments.run", "--help") == (-signal.SIGINT, "experiments: interrupted\n")


def test_a_program_of_ones_own_keeps_its_traceback(tmp_path: Path) -> None:
    code, said = told(tmp_path, "-c", "import experiments, docopt")
    assert code == -signal.SIGINT
    assert "Traceback" in said

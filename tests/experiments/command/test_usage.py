"""What `--help` says, and how quickly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from experiments.command import usage

ROOT = Path(__file__).parents[3]


def test_words_narrow_the_help_to_their_keys() -> None:
    found = usage.text("m", "s", "glyphs", (), ["optimizer.lr"])
    assert "\n  optimizer.lr=0.03 " in found
    assert "optimizer.b1" not in found
    assert "exit codes" not in found
    assert usage.text("m", "s", "glyphs", (), ["with", "digits"]) == usage.text("m", "s", "glyphs", ())


def test_help_is_quick() -> None:
    code = (
        "import sys; from experiments.run import PROGRAM; PROGRAM.main(['--help']); assert 'keras' not in sys.modules"
    )
    environment = os.environ | {"COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "  optimizer.lr=0.03             the learning rate at the schedule's peak" in done.stdout

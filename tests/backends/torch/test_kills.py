"""A run that is killed a dozen times ends as if nobody had touched it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each segment is a fork of one process")
def test_a_dozen_kills_lose_nothing() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.experiments.kills", "--kills", "12", "--backend", "torch"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] == 12
    # Not each kill meets the moment that it aims at; each phase is met.
    assert all(report["by phase"].get(phase) for phase in ("starting", "evaluating", "saving", "logging")), report

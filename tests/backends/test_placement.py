"""Everything of a run is on its device, whichever one the engine or Keras would take by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.backend
PROJECT = Path(__file__).parents[2]
# An engine would take the first of two CPU devices; Keras on PyTorch one that holds no numbers.
ASKED = {"jax": "cpu:1", "tensorflow": "cpu:1", "torch": "cpu"}

OTHERS = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "KERAS_TORCH_DEVICE": "meta"}


def test_nothing_is_on_another_device(backend: str) -> None:
    command = [sys.executable, "-m", "tests.backends.placed_run", backend, ASKED[backend]]
    done = subprocess.run(command, cwd=PROJECT, env=os.environ | OTHERS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [ASKED[backend]]

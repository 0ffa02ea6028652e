"""`from experiments import distill`, before anything of Keras's was imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import backends


@pytest.mark.backend
@pytest.mark.parametrize("named", [None, "numpy"])
def test_keras_runs_on_what_is_installed(named: str | None) -> None:
    """Its own default is TensorFlow, whatever is there; who has named another engine keeps it."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    if named:
        environment["KERAS_BACKEND"] = named
    code = "from experiments import distill; import os; print(os.environ['KERAS_BACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.stdout.strip() == (named or backends.installed()[0]), done.stderr

"""`experiments` and Keras in one process of the user's, in whatever order they are imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import backends

pytestmark = pytest.mark.backend
# The end of each: which engine Keras runs on, and which one a command would take.
END = """
import keras
import backends

print(keras.config.backend(), backends.load(backends.choose()).name)
"""
# Keras's own default, TensorFlow, is missing in most environments, and then its import fails.
KERAS_FIRST = """
try:
    import keras
except ModuleNotFoundError as error:
    assert error.name == "tensorflow", error
import experiments
"""


def told(code: str, **environment: str) -> str:
    """What a process of its own prints."""
    clean = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    words, root = [sys.executable, "-c", code], Path(__file__).parents[2]
    done = subprocess.run(words, env=clean | environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_keras_after_experiments_runs_on_what_is_installed() -> None:
    first = backends.installed()[0]
    assert told(f"import experiments{END}") == f"{first} {first}"


def test_keras_before_experiments_runs_on_what_is_installed() -> None:
    """Also after it has failed by itself."""
    here = backends.installed()
    expected = "tensorflow" if "tensorflow" in here else here[0]
    assert told(KERAS_FIRST + END) == f"{expected} {expected}"


def test_an_engine_that_was_named_stays(backend: str) -> None:
    assert told(f"import keras, experiments{END}", KERAS_BACKEND=backend) == f"{backend} {backend}"
    code = "import experiments, os; print(os.environ['KERAS_BACKEND'])"
    assert told(code, KERAS_BACKEND="numpy") == "numpy"

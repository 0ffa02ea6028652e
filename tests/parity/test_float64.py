"""Keras takes float64 for float32 on some engines: what closes that leak works, and the reference would see it open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity import against_reference
from tests.parity.conftest import BACKENDS, Measured

ROOT = Path(__file__).parents[2]
LEAKS = ("jax", "torch")
PROMOTED = """
import sys, backends
backends.load(sys.argv[1])
from keras import backend
from keras.src.backend.common import dtypes
from backends.precision import keep_float64
assert "float64" in dtypes.BIT64_TO_BIT32_DTYPE, "the table has moved"
print(backend.result_type("float64", float))
keep_float64()
print(backend.result_type("float64", float))
"""


@pytest.mark.parametrize("backend", LEAKS)
def test_reference_sees_the_leak(measured: Measured, backend: str) -> None:
    open_leak, closed = (measured(backend, kind)["kerass_mean"] for kind in ("leak", "mutations"))
    found = against_reference.checks("funmatch", open_leak, evaluated=False)
    assert "loss 0" in {check.quantity for check in found if not check.ok}
    found = against_reference.checks("funmatch", closed, evaluated=False)
    assert [check for check in found if not check.ok] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_table_is_where_it_was(backend: str) -> None:
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROMOTED, backend]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = done.stdout.split()[-2:]
    assert after == "float64"
    assert before == ("float32" if backend in LEAKS else "float64"), "Keras has closed the leak itself: drop the patch"

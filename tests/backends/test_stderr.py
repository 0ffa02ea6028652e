"""What a library prints while it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.stderr import held_back

ROOT = Path(__file__).parents[2]


@held_back()
def fail_to_import() -> None:
    os.write(2, b"a library is missing\n")
    raise ImportError


@pytest.mark.backend
def test_a_backend_says_nothing_when_it_is_loaded(backend: str) -> None:
    code = f"import backends; backends.load({backend!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_what_is_held_back_is_shown_only_where_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with held_back():
        os.write(2, b"hello from C++\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError):
        fail_to_import()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "a library is missing\nafterwards\n"

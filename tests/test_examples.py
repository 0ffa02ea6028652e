"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
from importlib import import_module


def test_examples_hold(documented: str) -> None:
    result = doctest.testmod(import_module(documented))
    assert result.attempted > 0
    assert result.failed == 0

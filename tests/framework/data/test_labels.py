"""Labels as they are stored: whole numbers that became floats are numbers, and every class has a readable name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.data import Splits
from framework.errors import UserError

Read = Callable[..., Splits]
OWN = {"validation": None, "test": None}


@pytest.fixture
def stored(write_parquet: Callable[..., Path], encode: Callable[..., bytes], paint: Callable[..., np.ndarray]) -> Any:
    """A parquet file of images with these labels."""
    return lambda values: write_parquet({"image": [encode(paint(i)) for i in range(len(values))], "label": values})


def test_whole_numbers_that_are_floats_are_numbers(stored: Any, read: Read) -> None:
    """As pandas stores them where some are missing."""
    splits = read(stored([1.0, 0.0, None, float("nan")]), **OWN)
    assert (splits.classes, splits.train.labels(np.arange(4)).tolist()) == (("0", "1"), [1, 0, -1, -1])
    assert any("2 train images have no label, of 4" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["a", "", "b"], "a class is called '': give it a name of one line"),
        (["a", " ", "b"], "a class is called ' '"),
        (["a", "b\nc", "b"], r"a class is called 'b\\nc'"),
        ([0.5, 1.0], "row 0: label 0.5 is neither a class number nor a name"),
        ([[0], [0, 1]], r"row 0: label \[0\] is neither"),
        ([-2, 0, 1], "labels must be words, or numbers from 0"),
    ],
)
def test_what_is_no_label_is_refused(values: list[Any], told: str, stored: Any, read: Read) -> None:
    with pytest.raises(UserError, match=told):
        read(stored(values), **OWN)

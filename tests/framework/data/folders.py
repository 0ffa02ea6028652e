"""Paths of pictures, and the labels that they get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from framework.data import Splits
from framework.data.source import ImageSource

Read = Callable[..., Splits]
Paint = Callable[..., np.ndarray]
Write = Callable[..., Path]
# The training images alone.
OWN = {"validation": None, "test": None}


def labels_of(source: object) -> list[int]:
    assert isinstance(source, ImageSource)
    return source.labels(np.arange(source.num_examples)).tolist()  # type: ignore[union-attr]


def labels(splits: Splits, role: str = "train") -> list[int]:
    return labels_of(getattr(splits, role))


def several(*folders: str, count: int = 3) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]

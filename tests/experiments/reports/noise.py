"""Answers to images of noise, for what only reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from framework.data.source import Splits

Array = np.ndarray


class Noise:
    """A source of images as large as thumbnails."""

    def __init__(self, labels: Array, classes: tuple[str, ...], side: int = 128) -> None:
        self.name, self.fingerprint, self.uniform, self.classes = "noise[test]", "noise", (side, side), classes
        self.num_examples, self._labels = len(labels), labels

    def images(self, ids: Array) -> Any:
        """Smooth ones, which compress as photographs do."""
        height, width = self.uniform
        coarse = [np.random.default_rng(int(each)).integers(0, 256, (8, 8, 3), np.uint8) for each in ids]
        return [image.repeat(height // 8, 0).repeat(width // 8, 1) for image in coarse]

    def sizes(self, ids: Array) -> Array:
        return np.full((len(ids), 2), self.uniform[0], np.int32)

    def labels(self, ids: Array) -> Array:
        return self._labels[ids]


def noise(
    random: np.random.Generator, count: int, classes: int, taught: bool = True
) -> tuple[Splits, dict[str, Array]]:
    """A data set with a test split, and answers to it as `Evaluator.answers` gives them."""
    names = tuple(f"class {number}" for number in range(classes))
    labels = random.integers(0, classes, count).astype(np.int32)
    source = Noise(labels, names)
    found = {"ids": np.arange(count), "labels": labels}
    for who in ("student", "teacher") if taught else ("student",):
        other = random.integers(0, classes, count).astype(np.int32)
        found |= {who: np.where(random.random(count) < 0.8, labels, other), f"{who}_p": random.random(count)}
    if taught:
        found["kl"] = random.exponential(1.0, count)
    return Splits(source, None, source, names, "noise", "noise"), found

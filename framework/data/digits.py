"""`digits`: scikit-learn's 1797 real scans of handwritten digits, 8x8 pixels, 10 classes."""

from __future__ import annotations

import numpy as np

from framework.data.stratify import stratified_order

Examples = tuple[np.ndarray, np.ndarray]

CLASSES = tuple("0123456789")
SIDE = 8
# The first rows of one stratified order go to the first split, and so on. `upstream` is for the teacher only.
SIZES = {"upstream": 500, "train": 100, "validation": 297, "test": 900}


def generate() -> dict[str, Examples]:
    """Read the scans and split them; the four splits are disjoint and together hold each scan once.

    Returns:
        For each split (uint8 images [N, 8, 8], grey, 0..255, int32 labels [N]).
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = ((scans.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)  # the scans have 17 levels, 0..16
    labels = scans.target.astype(np.int32)
    ends = np.cumsum(list(SIZES.values()))
    rows = np.split(stratified_order(labels), ends[:-1])
    return {name: (images[row], labels[row]) for name, row in zip(SIZES, rows, strict=True)}

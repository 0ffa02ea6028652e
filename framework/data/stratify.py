"""A fixed order of examples in which every prefix holds the classes in their overall proportions."""

from __future__ import annotations

import numpy as np

from framework.draws import keyed

_STREAM = 0x5712A7  # any constant: it keeps these hashes apart from those of other uses


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Order the rows so that any slice of the order is balanced like the whole.

    Within a class the order is a fixed shuffle; the classes are then interleaved evenly. It depends on the labels
    alone.

    Args:
        labels: [N], any numbers or words; equal ones are one class.

    Returns:
        int64 [N], a permutation of the rows.

    Example:
        >>> stratified_order(np.array([0, 0, 0, 0, 1, 1]))[:3] < 4
        array([ True, False,  True])
    """
    labels = np.asarray(labels)
    hashes = keyed.bits(_STREAM, np.arange(len(labels)))
    by_class = np.lexsort((hashes, labels))
    _, first, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(first, counts)
    place = (rank + 0.5) / np.repeat(counts, counts)
    return by_class[np.lexsort((hashes[by_class], place))].astype(np.int64)

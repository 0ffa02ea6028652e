"""Images of which nothing is known before they are drawn: the sizes of a million files take minutes to read.

What an example turns out to be depends on its row alone, so the draws are the same whether a row is measured now, in
another order or in another process, and nothing needs to be kept for a resumed run.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from framework.data.bad import Policy, look, refuse_bad
from framework.data.rows import Rows
from framework.data.threads import num_threads
from framework.protocols import Array

MANY = 50_000  # fewer are measured beforehand, in seconds
_SAMPLE = 64
_CHUNK = 256  # encoded images in memory at a time


def estimated_bytes(rows: Rows) -> int:
    """Decoded bytes of all images, from a few of them spread evenly over the rows; those that are bad are left out."""
    numbers = np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64))
    found = [look(encoded, whole=False) for encoded in rows.read(numbers)]
    pixels = [size[0] * size[1] for size in found if not isinstance(size, str)]
    return round(3 * len(rows) * float(np.mean(pixels))) if pixels else 0


class MeasuredImages:
    """Images that are measured when they are drawn, and decoded each time; it serves as `DecodedImages` does.

    A bad image is met when it is drawn. Where it is skipped, its place has the next good row, cyclically: a function of
    the data alone. To know that an image is good it is decoded when it is drawn first, once more than otherwise.

    Args:
        rows: the encoded images.
        policy: what to do about a bad image: "error", or "skip" to take a neighbour.
    """

    pixels = digests = uniform = None
    num_replaced = num_animated = 0

    def __init__(self, rows: Rows, policy: Policy) -> None:
        self.rows, self.policy = rows, policy
        self.sha256 = f"on-demand-{rows.key}"
        self._sizes = np.zeros((len(rows), 2), np.int32)
        self._origin = np.full(len(rows), -1, np.int64)
        self._bad: set[int] = set()
        self._lock = threading.Lock()
        # Not the common threads, which may be waiting for the lock.
        self._pool = ThreadPoolExecutor(num_threads(), "measure")

    def sizes_of(self, ids: Array) -> Array:
        """The int32 [B, 2] (height, width) of the images of int64 [B] places.

        Raises:
            UserError: an image is bad, or too many are.
        """
        return self._sizes[self.origin_of(ids)]

    def origin_of(self, ids: Array) -> Array:
        """The rows, int64 [B], whose images stand at int64 [B] places; errors as in `sizes_of`."""
        with self._lock:
            for start in range(0, len(ids), _CHUNK):
                part = np.unique(ids[start : start + _CHUNK])
                self._find(part[self._origin[part] < 0])
        return self._origin[ids]

    def known_origin_of(self, ids: Array) -> Array:
        """As `origin_of`, but a place that was not drawn yet is taken for good."""
        return np.where(self._origin[ids] < 0, ids, self._origin[ids])

    def _find(self, numbers: Array) -> None:
        self._look_at(numbers)
        for number in numbers.tolist():
            row = number
            while row in self._bad:
                row = (row + 1) % len(self.rows)
                self._look_at(np.array([row]))
            self._origin[number] = row

    def _look_at(self, numbers: Array) -> None:
        new = [number for number in numbers.tolist() if not self._sizes[number].any() and number not in self._bad]
        looked = self._pool.map(partial(look, whole=self.policy == "skip"), self.rows.read(np.array(new, np.int64)))
        for number, found in zip(new, looked, strict=True):
            if isinstance(found, str):
                self._bad.add(number)
                refuse_bad(self.rows, {number: found}, self.policy, len(self._bad))
            else:
                self._sizes[number] = found

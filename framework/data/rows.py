"""The chosen rows of a data set, still encoded, with the place of each for messages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from framework.data.decode import Encoded
from framework.data.places import stamp

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Part:
    """Rows of one split.

    Attributes:
        split, column: where the images are.
        dataset: the split's image column alone, not decoded.
        rows: int64 [N], which of its rows.
        fingerprint: of the split as it was opened.
    """

    split: str
    column: str
    dataset: Dataset
    rows: np.ndarray
    fingerprint: str


class Rows:
    """The images of one split expression, encoded: number i is row `rows[i]` of a part.

    Attributes:
        name: what messages call it, `"glyphs[train]"`.
        key: a hash of what determines the images, stable from run to run.
    """

    def __init__(self, data: str, expression: str, parts: Sequence[Part]) -> None:
        self.name = f"{data}[{expression}]"
        self._data = data
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part.rows) for part in parts)])
        self.key = self._hash()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def place(self, number: int) -> str:
        """Data set, split, row and column of an example, in words."""
        index = int(np.searchsorted(self._starts, number, side="right")) - 1
        part, row = self._parts[index], self._parts[index].rows[number - self._starts[index]]
        return f"data {self._data!r}, split {part.split!r}, row {row}, column {part.column!r}"

    def read(self, numbers: np.ndarray) -> list[Encoded]:
        """The encoded images of int64 [B] numbers, in their order."""
        encoded: list[Encoded] = [None] * len(numbers)
        which = np.searchsorted(self._starts, numbers, side="right") - 1
        for index in np.unique(which):
            at = np.flatnonzero(which == index)
            part = self._parts[index]
            column: Any = part.dataset[part.rows[numbers[at] - self._starts[index]].tolist()][part.column]
            for position, value in zip(at, column, strict=True):
                encoded[position] = value
        return encoded

    def _hash(self) -> str:
        total = hashlib.sha256()
        for part in self._parts:
            total.update(f"{part.fingerprint} {part.column} ".encode() + part.rows.astype("<i8").tobytes())
            for path in _paths(part):
                total.update(stamp(path).encode())
        return total.hexdigest()[:32]


def _paths(part: Part) -> list[str]:
    """The files of those images that are not stored in the data set itself."""
    import pyarrow.compute as pc

    column = part.dataset.data.column(part.column)
    outside = pc.is_null(pc.struct_field(column, "bytes")).to_numpy()
    if not outside.any():
        return []
    indices = part.dataset._indices
    rows = part.rows if indices is None else indices.column(0).to_numpy()[part.rows]
    paths = pc.struct_field(column, "path").take(rows[outside[rows]])
    return [path for path in paths.to_pylist() if path is not None]

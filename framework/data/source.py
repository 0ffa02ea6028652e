"""What training sees of a data set: sources of uint8 images by number, and the splits of one data set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from framework.data.decode import BadImage, check_size, decode
from framework.data.decoded import DecodedImages
from framework.data.measured import MeasuredImages
from framework.data.rows import Rows
from framework.data.threads import pool
from framework.errors import UserError
from framework.protocols import Array, Source

# Images of at most so many bytes are copied into one array; a batch of larger ones is a list of views.
_GATHERED = 2**15


@dataclass(frozen=True)
class Splits:
    """A validated data set.

    Attributes:
        train, validation, test: its sources; None where there is no such split.
        classes: the class names in the order of the labels, None without labels.
        name: the data set's name as the user gave it.
        fingerprint: a hash of all images and labels (or of what determines them).
        notes: one-line remarks for the user.
    """

    train: Source
    validation: Source | None
    test: Source | None
    classes: tuple[str, ...] | None
    name: str
    fingerprint: str
    notes: tuple[str, ...] = ()


class ImageSource:
    """A `Source` over images: pixels from memory-mapped files, or decoded on demand."""

    def __init__(
        self,
        rows: Rows,
        decoded: DecodedImages | MeasuredImages,
        labels: Array | None,
        classes: tuple[str, ...] | None,
    ) -> None:
        self.name = rows.name
        self.num_examples = len(rows)
        self.classes = classes
        self.digests = decoded.digests
        self._rows, self._decoded = rows, decoded
        self._labels, self.uniform = labels, decoded.uniform
        mine = self.labels(np.arange(self.num_examples))
        parts = (decoded.sha256, str(classes), b"" if mine is None else mine.tobytes())
        self.fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def images(self, ids: Array) -> Sequence[Array]:
        """The uint8 RGB images [H, W, 3] of int64 [B] ids; where `uniform`, `np.asarray` makes them one array.

        Raises:
            UserError: an image is bad; it is said when the image is taken.
        """
        if self._decoded.pixels is None:
            return Decoding(self._decode_one, self._decoded.origin_of(ids), self._rows)
        if self.uniform is not None and 3 * math.prod(self.uniform) <= _GATHERED:
            return self._decoded.pixels.reshape(self.num_examples, *self.uniform, 3)[ids]
        return [self._view(self._decoded.pixels, int(number)) for number in ids]

    def sizes(self, ids: Array) -> Array:
        """The int32 [B, 2] (height, width) of the images."""
        return self._decoded.sizes_of(ids)

    def labels(self, ids: Array) -> Array | None:
        """The int32 [B] labels, -1 where an example has none; None where the data have no labels."""
        return None if self._labels is None else self._labels[self._decoded.known_origin_of(ids)]

    def _view(self, pixels: Array, number: int) -> Array:
        return pixels[self._starts[number] : self._starts[number + 1]].reshape(*self._size(number), 3)

    def _size(self, number: int) -> Array:
        return self._decoded.sizes_of(np.array([number]))[0]

    @cached_property
    def _starts(self) -> Array:
        sizes = self._decoded.sizes_of(np.arange(self.num_examples))
        return np.cumsum([0, *sizes.astype(np.int64).prod(1) * 3])

    def _decode_one(self, number: int, encoded: Any) -> Array:
        try:
            image = decode(encoded)
            check_size(image, self._size(number))
            return image
        except BadImage as reason:
            raise UserError(
                f"{self._rows.place(number)}: {reason}; data.on_bad_image=skip takes a neighbour"
            ) from reason


class Decoding(Sequence[Array]):
    """Images that are decoded when they are taken: one by itself, all of them on several threads."""

    def __init__(self, decode_one: Callable[[int, Any], Array], numbers: Array, rows: Rows) -> None:
        self._decode_one, self._numbers, self._encoded = decode_one, numbers.tolist(), rows.read(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        return self._decode_one(self._numbers[place], self._encoded[place])

    def __iter__(self) -> Iterator[Array]:
        return pool().map(self._decode_one, self._numbers, self._encoded)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.stack(list(self))


def check_classes(num_outputs: int, splits: Splits, who: str = "teacher") -> None:
    """Hold a model's outputs against the data's classes; data without labels pass.

    Raises:
        UserError: the numbers differ.
    """
    if splits.classes is not None and num_outputs != len(splits.classes):
        raise UserError(
            f"the {who} has {num_outputs} outputs, but data {splits.name!r} have {len(splits.classes)} classes: "
            f"give a {who} made for these classes, or data.labels=null to distil without labels"
        )

"""Fashion-MNIST from the files of a system package: 28x28 grey photographs of clothes, 10 classes.

Debian and Ubuntu have the original files as the package `dataset-fashion-mnist`. Names and splits are those of the copy
on the hub, so that a run is the same on either.

Reference: Xiao, Rasul and Vollgraf, Fashion-MNIST (arXiv 1708.07747).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from framework.errors import UserError

Examples = tuple[np.ndarray, np.ndarray]

HUB = "zalando-datasets/fashion_mnist"
PACKAGE = "dataset-fashion-mnist"
FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    *("T - shirt / top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
SIDE = 28
SIZES = {"train": 60_000, "test": 10_000}
# Of what the original files hold.
SHA256 = "33935f0180d3be9ad8654ac7c1d6a4bfa99619039ac103e52b0b184457ae418c"
_PREFIXES = {"train": "train", "test": "t10k"}
_UBYTE = 8


def is_here() -> bool:
    """Whether the package is installed."""
    return all(path.is_file() for split in SIZES for path in _files(split))


def generate() -> dict[str, Examples]:
    """Read the package's files.

    Returns:
        For each split (uint8 images [N, 28, 28], grey, 0..255, int32 labels [N]).

    Raises:
        UserError: a file is damaged, or holds something else.
    """
    found = {}
    for split, size in SIZES.items():
        images, labels = _files(split)
        found[split] = (read_idx(images, (size, SIDE, SIDE)), read_idx(labels, (size,)).astype(np.int32))
    return found


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a gzipped IDX file of bytes: two zeros, the type, the number of axes, their lengths, the values.

    Args:
        path: the file.
        shape: what it must hold.

    Returns:
        uint8 of that shape.

    Raises:
        UserError: it can't be read, or holds something else.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    head = bytes([0, 0, _UBYTE, len(shape)]) + np.array(shape, ">i4").tobytes()
    if content[: len(head)] != head or len(content) != len(head) + math.prod(shape):
        raise UserError(f"{path}: expected an IDX file of {'x'.join(map(str, shape))} bytes")
    return np.frombuffer(content, np.uint8, offset=len(head)).reshape(shape)


def _files(split: str) -> tuple[Path, Path]:
    """The split's images and labels."""
    return tuple(FOLDER / f"{_PREFIXES[split]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))  # type: ignore[return-value]

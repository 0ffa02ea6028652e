"""Images decoded once: sizes, bad rows, and the pixels themselves where they fit, memory-mapped from the cache.

Layout of a folder, named by the hash of what is in it: `sizes.npy` int32 [N, 2], `origin.npy` int64 [N] (the row whose
image stands at each place: itself, or a good neighbour of a bad one), `pixels.bin` uint8 [total] (image after image),
`made.json`, `digests.npy` uint64 [N] (a hash of each image; where there are pixels).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from framework.data.bad import Policy, look, refuse_bad
from framework.data.bar import image_bar
from framework.data.decode import BadImage, Encoded, check_size, decode, has_frames
from framework.data.measured import MANY, MeasuredImages, estimated_bytes
from framework.data.offline import once
from framework.data.rows import Rows
from framework.data.threads import pool
from framework.protocols import Array

T = TypeVar("T")

VERSION = 2  # of the layout and of `decode`: another number makes all of them anew
_CHUNK = 256


@dataclass(frozen=True)
class DecodedImages:
    """What is known of the images of some rows.

    Attributes:
        sizes: int32 [N, 2], (height, width).
        origin: int64 [N], the row whose image stands at each place.
        pixels: uint8 [total], image after image; None where they are decoded on demand.
        sha256: of the pixels, or of what determines them.
        digests: uint64 [N], equal for equal images; None where they are decoded on demand.
        num_animated: files with several frames, of which the first is taken.
    """

    sizes: np.ndarray
    origin: np.ndarray
    pixels: np.ndarray | None
    sha256: str
    digests: np.ndarray | None
    num_animated: int = 0

    @property
    def num_replaced(self) -> int:
        """How many bad images have a neighbour in their place."""
        return int((self.origin != np.arange(len(self.origin))).sum())

    @cached_property
    def uniform(self) -> tuple[int, int] | None:
        """The (height, width) that all images have; None where they differ."""
        height, width = (int(side) for side in self.sizes[0])
        return (height, width) if (self.sizes == self.sizes[0]).all() else None

    def sizes_of(self, ids: Array) -> Array:
        """The int32 [B, 2] (height, width) of the images of int64 [B] places."""
        return self.sizes[ids]

    def origin_of(self, ids: Array) -> Array:
        """The rows, int64 [B], whose images stand at int64 [B] places."""
        return self.origin[ids]

    known_origin_of = origin_of


def open_decoded(rows: Rows, cache: Path, policy: Policy, limit: int) -> DecodedImages | MeasuredImages:
    """Open the decoded images of some rows, making them first where the cache has none.

    Where a few of them say that all would not fit, none is looked at before it is drawn.

    Args:
        rows: the encoded images.
        cache: the cache folder.
        policy: what to do about a bad image: "error", or "skip" to take a neighbour.
        limit: at most so many bytes of pixels are kept decoded.

    Raises:
        UserError: an image is bad, or too many are.
    """
    key = hashlib.sha256(f"{rows.key} {policy} {VERSION} {limit}".encode()).hexdigest()[:32]
    folder = cache / "decoded" / key
    if len(rows) > MANY and not folder.is_dir() and estimated_bytes(rows) > limit:
        return MeasuredImages(rows, policy)
    with once(folder) as making:
        if making is not None:
            _make(rows, making, policy, limit)
    pixels, digests = folder / "pixels.bin", folder / "digests.npy"
    made = json.loads((folder / "made.json").read_text())
    return DecodedImages(
        np.load(folder / "sizes.npy"),
        np.load(folder / "origin.npy"),
        np.asarray(np.memmap(pixels, np.uint8, "r")) if pixels.exists() else None,
        made["sha256"],
        np.load(digests) if digests.exists() else None,
        made.get("animated", 0),
    )


def replacements(is_bad: np.ndarray) -> np.ndarray:
    """For each row (bool [N]) itself if good, else the next good one, cyclically: int64 [N]."""
    good = np.flatnonzero(~is_bad)
    return good[np.searchsorted(good, np.arange(len(is_bad))) % len(good)]


def _make(rows: Rows, folder: Path, policy: Policy, limit: int) -> None:
    sizes, reasons, animated = _survey(rows, whole=policy == "skip")
    refuse_bad(rows, reasons, policy)
    is_bad = np.zeros(len(rows), bool)
    is_bad[list(reasons)] = True
    origin = replacements(is_bad)
    sizes = sizes[origin]
    total = int(sizes.astype(np.int64).prod(1).sum()) * 3
    fits = total <= min(limit, shutil.disk_usage(folder).free - total // 10)
    sha256 = _decode_all(rows, origin, sizes, folder) if fits else f"on-demand-{rows.key}"
    np.save(folder / "sizes.npy", sizes)
    np.save(folder / "origin.npy", origin)
    (folder / "made.json").write_text(json.dumps({"sha256": sha256, "name": rows.name, "animated": animated}))


def _survey(rows: Rows, whole: bool) -> tuple[np.ndarray, dict[int, str], int]:
    """Sizes of all images, the reasons of the bad ones, how many have frames; `whole` decodes all, else headers do."""

    def looked(encoded: Encoded) -> tuple[tuple[int, int] | str, bool]:
        found = look(encoded, whole)
        return found, not isinstance(found, str) and has_frames(encoded)

    sizes, reasons, animated = np.zeros((len(rows), 2), np.int32), {}, 0
    doing = f"{'checking' if whole else 'measuring'} {rows.name}"
    for number, (found, frames) in _each(rows, np.arange(len(rows)), looked, doing):
        if isinstance(found, str):
            reasons[number] = found
        else:
            sizes[number] = found
            animated += frames
    return sizes, reasons, animated


def _decode_all(rows: Rows, origin: np.ndarray, sizes: np.ndarray, folder: Path) -> str:
    """Write all pixels in order, and a hash of each image; returns the SHA-256 of all pixels."""
    total, digests, place = hashlib.sha256(), np.zeros(len(origin), np.uint64), 0
    try:
        with (folder / "pixels.bin").open("wb") as file:
            for _, image in _each(rows, origin, decode, f"decoding {rows.name}"):
                check_size(image, sizes[place])
                total.update(image)  # type: ignore[arg-type]
                file.write(image.data)
                digests[place] = _digest(image)
                place += 1
    except BadImage as reason:
        refuse_bad(rows, {int(origin[place]): str(reason)}, "error")
        raise
    np.save(folder / "digests.npy", digests)
    return total.hexdigest()


def _digest(image: np.ndarray) -> int:
    """64 bits that equal images share, and hardly any others."""
    content = hashlib.blake2b(image.data, digest_size=8, salt=repr(image.shape).encode()[:16])
    return int.from_bytes(content.digest(), "little")


def _each(rows: Rows, numbers: np.ndarray, work: Callable[[Encoded], T], what: str) -> Iterator[tuple[int, T]]:
    """Do `work` for each row in order, on several threads (decoding releases the interpreter), a chunk at a time."""
    with image_bar(len(numbers), what) as bar:
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            yield from zip(chunk.tolist(), pool().map(work, rows.read(chunk)), strict=True)
            bar.update(len(chunk))

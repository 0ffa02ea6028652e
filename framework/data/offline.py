"""Data sets that need no network: made on first use, kept in the cache as `datasets.DatasetDict`s.

`OFFLINE` come with the project; `INSTALLED` are on the hub too, and their files are a system package's.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from framework.data import digits, fashion, glyphs
from framework.data.bar import image_bar
from framework.data.muted import muted
from framework.files.locks import held

if TYPE_CHECKING:
    from datasets import DatasetDict

Examples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class OfflineSet:
    """How to make a data set without a network, and the hash that the pinned versions give, if one is kept.

    Its images have `side` x `side` pixels, and `sizes` says how many each split has.
    """

    generate: Callable[[], dict[str, Examples]]
    classes: tuple[str, ...]
    side: int
    sizes: Mapping[str, int]
    version: int
    sha256: str | None = None


OFFLINE = {
    "digits": OfflineSet(digits.generate, digits.CLASSES, digits.SIDE, digits.SIZES, version=1),
    "glyphs": OfflineSet(glyphs.generate, glyphs.CLASSES, glyphs.SIZE, glyphs.SIZES, version=1, sha256=glyphs.SHA256),
}
# By hub id.
INSTALLED = {
    fashion.HUB: OfflineSet(
        fashion.generate, fashion.CLASSES, fashion.SIDE, fashion.SIZES, version=1, sha256=fashion.SHA256
    )
}
# How the files of each come here, beside the hub.
PACKAGES = {fashion.HUB: f"apt-get install {fashion.PACKAGE} (Debian, Ubuntu) puts its files into {fashion.FOLDER}"}


def is_offline(name: str) -> bool:
    """Whether a data set needs no network: one of the project's own, or one whose files are a system package's here."""
    return name in OFFLINE or (name in INSTALLED and fashion.is_here())


def load_offline(name: str, cache: Path) -> tuple[DatasetDict, tuple[str, ...]]:
    """Load a data set that needs no network, making it first where the cache doesn't have it.

    Args:
        name: one that `is_offline`.
        cache: the cache folder; simultaneous first runs wait for each other.

    Returns:
        The splits with an `image` (Image) and a `label` (ClassLabel) column, and notes for the user.
    """
    from datasets import load_from_disk

    known = (OFFLINE | INSTALLED)[name]
    short = name.rpartition("/")[2]
    folder = cache / "offline" / f"{short}-v{known.version}"
    with once(folder) as making:
        if making is not None:
            _make(known, making, short)
    found = json.loads((folder / "made.json").read_text())["sha256"]
    differs = known.sha256 not in (None, found)
    notes = (
        (f"{name}: its pixels differ from the reference's, by other versions of libraries or files",) if differs else ()
    )
    return load_from_disk(str(folder)), notes


@contextmanager
def once(folder: Path) -> Iterator[Path | None]:
    """Make a folder exactly once: yields a temporary folder to fill, or None where it is there already.

    The filled folder is renamed into place at the end; a failure or a kill leaves nothing under its name.
    """
    if folder.exists():
        yield None
        return
    with held(folder):
        if folder.exists():
            yield None
            return
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield making
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def _make(known: OfflineSet, folder: Path, what: str) -> None:
    """Generate a set, and store it with its images as PNG."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

    splits, made = known.generate(), DatasetDict()
    features = Features({"image": Image(), "label": ClassLabel(names=list(known.classes))})
    num_images = sum(len(labels) for _, labels in splits.values())
    with muted(), image_bar(num_images, f"keeping {what}") as bar:
        for name, (images, labels) in splits.items():
            encoded = []
            for image in images:
                encoded.append(_png(image))
                bar.update()
            made[name] = Dataset.from_dict({"image": encoded, "label": labels.tolist()}, features)
        made.save_to_disk(str(folder))
    (folder / "made.json").write_text(json.dumps({"sha256": glyphs.digest(splits)}))


def _png(image: np.ndarray) -> dict[str, object]:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return {"bytes": file.getvalue(), "path": None}

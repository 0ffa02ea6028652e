"""The files below a folder: which are images, and which are left out and why."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from framework.errors import UserError

Parts = tuple[str, ...]  # a path below the folder

# Formats that PIL knows by name only, films and drawings.
_NO_IMAGES = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
# Images that PIL can't open, or not everywhere: a class that has only these is no class without images.
PICTURES = (".heic", ".heif", ".avif", ".avifs", ".jxl", ".svg", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", "")
_SYSTEM = ("__macosx", "thumbs.db", "desktop.ini")


@dataclass
class Tree:
    """What lies below a folder.

    Attributes:
        images: the images' paths, sorted as text.
        folders: the folders' paths, parents first.
        others: files that are no images, each with its kind, `".heic"`.
        reasons: how often something is left out, by its reason in words; 0 is as none.
    """

    images: list[Parts] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    others: list[tuple[Parts, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def top(self) -> list[str]:
        """The names of the folders directly below."""
        return [parts[0] for parts in self.folders if len(parts) == 1]

    def below(self, name: str) -> Tree:
        """The same of one of the folders directly below."""
        return Tree(
            [parts[1:] for parts in self.images if parts[0] == name],
            [parts[1:] for parts in self.folders if parts[0] == name and len(parts) > 1],
            [(parts[1:], kind) for parts, kind in self.others if parts[0] == name and len(parts) > 1],
        )

    def left_out(self) -> str:
        """What is left out, in words: `3 .heic, 1 hidden`; empty where nothing is."""
        counts = self.reasons + Counter(kind or "without a suffix" for _, kind in self.others)
        heaviest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count} {reason}" for reason, count in heaviest)


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes, in small letters, of the image files that the installed PIL can open."""
    from PIL import Image

    Image.init()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in Image.OPEN and kind not in _NO_IMAGES)


def walk(folder: Path, name: str) -> Tree:
    """Look at all files below a folder; links are followed, hidden files are not read.

    Raises:
        UserError: a folder can't be read, or a name is not UTF-8.
    """
    tree = Tree()
    try:
        _walk(folder, (), frozenset((os.path.realpath(folder),)), tree)
    except OSError as error:
        raise UserError(f"data {name!r} can't be read: {error.strerror} ({error.filename})") from error
    except UnicodeEncodeError as error:
        raise UserError(f"data {name!r}: the name {os.fsencode(error.object)!r} is not UTF-8: rename it") from error
    tree.images.sort(key="/".join)
    return tree


def _walk(folder: Path, parts: Parts, above: frozenset[str], tree: Tree) -> None:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        entry.name.encode()  # what isn't UTF-8 can't be stored with the data
        here = (*parts, entry.name)
        if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
            tree.reasons["hidden"] += 1
        elif entry.is_dir():
            _walk_below(entry, here, above, tree)
        elif not entry.is_file():
            tree.reasons["link that leads nowhere" if entry.is_symlink() else "special file"] += 1
        else:
            _sort_in(here, tree)


def _walk_below(entry: os.DirEntry[str], here: Parts, above: frozenset[str], tree: Tree) -> None:
    real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
    if real in above:  # or it would never end
        tree.reasons["link to a folder above"] += 1
        return
    tree.folders.append(here)
    _walk(Path(entry.path), here, above | {os.path.realpath(real)}, tree)


def _sort_in(here: Parts, tree: Tree) -> None:
    suffix = os.path.splitext(here[-1])[1].lower()  # not by pathlib, which a million files would feel
    if suffix in image_suffixes():
        tree.images.append(here)
    else:
        tree.others.append((here, suffix))


def option(name: str, sub: str) -> str:
    """How to give a folder in the data folder, as it is typed.

    >>> option("./d/", "train"), option("my photos", "a")
    ('data=./d/train', "'data=my photos/a'")
    """
    return shlex.quote(f"data={Path(name) / sub}" if not name.startswith("./") else f"data=./{Path(name) / sub}")

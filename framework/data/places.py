"""Files as they lie on the disk: what changes when they do, and names that every library can read."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


def stamp(path: str | Path) -> str:
    """A line that is another one when the file is: its path, size, times and inode.

    The time of the last change of the inode is among them: what restores a file's own time (`tar`, `cp -p`) can't
    restore that one.
    """
    try:
        found = os.stat(path)
    except OSError:
        return f"{path} missing\n"
    return f"{os.path.abspath(path)} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}\n"


def without_colons(path: Path) -> Path:
    """The path itself, or for one with `::` in it a link to it: `datasets` would take that for a chain of addresses."""
    return _link(path.absolute()) if "::" in str(path.absolute()) else path


@cache
def _link(path: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="patient-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "data").symlink_to(path)
    return folder / "data"

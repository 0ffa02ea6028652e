"""Zip archives that would unpack to absurd sizes are refused before anything of them is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

# Parameters hardly compress: even a model that is mostly zeros stays far below this.
RATIO = 100
# What costs nothing, however well it was packed.
HARMLESS = 64 * 2**20


def check_size(path: str | Path) -> None:
    """Hold what an archive says that it unpacks to against its size on the disk.

    Args:
        path: of a zip archive (`.npz`, `.keras`).

    Raises:
        ValueError: it is more than a hundred times as large.
        zipfile.BadZipFile: it is no archive.
        OSError: it can't be read.
    """
    packed = Path(path).stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > max(HARMLESS, RATIO * packed):
        raise ValueError(f"{packed:,} bytes that would unpack to {unpacked:,}")

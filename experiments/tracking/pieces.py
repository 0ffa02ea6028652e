"""The files of one journal: the first, then one for each further piece, named by the byte at which it begins.

`journal.jsonl` is always there and plain, because it carries the lock of the run that writes. A later piece,
`journal.000016777216.jsonl`, is compressed to `.gz` as soon as the next one has begun. A byte's number counts through
all of them as if nothing were compressed. No record is cut by the end of a file.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import IO, NamedTuple

JOURNAL = "journal.jsonl"
PIECE_BYTES = 16 * 2**20
_NAME = re.compile(r"journal\.(\d{12})\.jsonl(\.gz)?")


class Piece(NamedTuple):
    """One file, and the number of its first byte."""

    start: int
    path: Path

    def open(self) -> IO[bytes]:
        """For reading what was written, compressed or not."""
        return gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")  # type: ignore[return-value]


def at(folder: Path, start: int) -> Piece:
    """The file that begins at a byte, before it is compressed."""
    return Piece(start, folder / f"journal.{start:012d}.jsonl")


def found(folder: Path) -> list[Piece]:
    """The files that are there, in their order; one that is being compressed once."""
    later = {int(match[1]): path for path in sorted(folder.iterdir()) if (match := _NAME.fullmatch(path.name))}
    return [Piece(0, folder / JOURNAL), *(Piece(start, later[start]) for start in sorted(later))]


def containing(folder: Path, offset: int) -> tuple[Piece, int | None]:
    """The file with a byte, and where the next file begins; None for the last."""
    files = found(folder)
    here = [piece for piece in files if piece.start <= offset][-1]
    return here, next((piece.start for piece in files if piece.start > offset), None)


def lines(piece: Piece, offset: int, max_bytes: int) -> bytes:
    """Whole lines of a file from a byte of it on, about `max_bytes` of them; none from where a file is damaged."""
    try:
        with piece.open() as file:
            file.seek(offset)
            data = file.read(max_bytes)
            data += file.readline()
    except FileNotFoundError:
        packed = Piece(piece.start, piece.path.with_name(f"{piece.path.name}.gz"))
        if piece.path.suffix == ".gz" or not packed.path.exists():
            raise
        return lines(packed, offset, max_bytes)
    except (zlib.error, EOFError, gzip.BadGzipFile):
        # Nothing behind the damage can be read. What is before it can, in smaller bites.
        return lines(piece, offset, max_bytes // 2) if max_bytes > 1 else b""
    return data[: data.rfind(b"\n") + 1]


def pack(piece: Piece) -> None:
    """Compress a file that nobody writes any more; where there is no room for it, it stays as it is."""
    packed = piece.path.with_name(f"{piece.path.name}.gz")
    temporary = packed.with_name(f".{packed.name}.tmp")
    try:
        with piece.path.open("rb") as source, temporary.open("wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as target:
                shutil.copyfileobj(source, target, 2**20)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(packed)
        piece.path.unlink()
    except OSError:
        temporary.unlink(missing_ok=True)

"""The journal: an append-only file of JSON lines in the run's folder, written before anything else is.

One record a line, each with a `type`, a `time` (seconds since 1970, UTC) and the CRC32 of the rest of its line: a line
that was damaged is left out, and never read as something else. NaN and infinities are written as Python's json module
writes them (`NaN`, `Infinity`). A database is a copy of it that can be made again at any time. A long journal continues
in further files: see `experiments.tracking.pieces`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

from experiments.tracking import locks, pieces
from experiments.tracking.pieces import JOURNAL
from framework.errors import UserError

FORMAT = 2
SYNC_EVERY_S = 5.0
MAX_PENDING = 32 * 2**20
_READ_SIZE = 2**20
_SILENT_S = 3600.0
_CHECK = b', "crc32": "'


def is_alive(folder: Path) -> bool:
    """Whether the process that writes this journal still lives: it holds a lock on the file."""
    path = folder / JOURNAL
    if not locks.AVAILABLE:
        return time.time() - path.stat().st_mtime < _SILENT_S
    return locks.is_locked(path)


class Journal:
    """The writing side. Thread-safe; holds a lock on the first file for as long as it is open.

    Args:
        piece_bytes: a file of about this size is closed and compressed, and another one begun.
    """

    def __init__(self, folder: Path, piece_bytes: int = pieces.PIECE_BYTES) -> None:
        self.path = folder / JOURNAL
        self._piece_bytes = piece_bytes
        self._packing: threading.Thread | None = None
        self._mutex = threading.RLock()
        self._pending: list[bytes] = []
        self._warned = False
        self._synced = 0.0
        lock = locks.opened(self.path, timeout=2.0)
        if lock is None:
            raise UserError(f"{self.path} is being written by another process")
        self._lock = lock
        self._piece = pieces.found(folder)[-1]
        self._descriptor: int | None = _opened(self._piece.path)
        self._mend()
        identity = {"format": FORMAT, "uid": folder.name, "pid": os.getpid(), "host": platform.node()}
        self.append("journal", identity, sync=True)

    def _mend(self) -> None:
        """Close a torn last line, so that the next record starts on a line of its own."""
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")

    def append(self, kind: str, fields: dict[str, Any], at: float | None = None, sync: bool = False) -> None:
        """Write one record down.

        Args:
            kind: the record's type.
            fields: plain values.
            at: the record's time in seconds since 1970; now by default.
            sync: wait until it is on the disk; otherwise the disk is waited for at most every few seconds.
        """
        record = {"type": kind, "time": time.time() if at is None else at, **fields}
        with self._mutex:
            self._pending.append(_line(record))
            self._write()
            if self.size() - self._piece.start >= self._piece_bytes and not self._pending:
                self._go_on()
            if sync or time.monotonic() - self._synced > SYNC_EVERY_S:
                self._sync()

    def size(self) -> int:
        """How many bytes were written in all; 0 once it is closed."""
        return 0 if self._descriptor is None else self._piece.start + os.fstat(self._descriptor).st_size

    def _go_on(self) -> None:
        """Begin another file; a thread compresses the one before, unless that is the first, which has the lock."""
        assert self._descriptor is not None
        following = pieces.at(self.path.parent, self.size())
        try:
            descriptor = _opened(following.path)
        except OSError as error:
            self._warn(error)
            return
        self._sync()
        os.close(self._descriptor)
        self._descriptor, done, self._piece = descriptor, self._piece, following
        if done.start:
            self._wait_for_packing()
            self._packing = threading.Thread(target=pieces.pack, args=(done,), daemon=True, name="journal")
            self._packing.start()

    def _wait_for_packing(self) -> None:
        if self._packing is not None:
            self._packing.join()
            self._packing = None

    def _write(self) -> None:
        """Write what is pending; a full disk keeps it in memory (to a bound) instead of ending the run."""
        if self._descriptor is None:
            return
        try:
            while self._pending:
                written = os.write(self._descriptor, self._pending[0])
                if written < len(self._pending[0]):
                    self._pending[0] = b"\n" + self._pending[0]  # the torn half becomes a line that readers skip
                    continue
                del self._pending[0]
        except OSError as error:
            self._warn(error)
            while sum(map(len, self._pending)) > MAX_PENDING:
                del self._pending[0]

    def _sync(self) -> None:
        self._synced = time.monotonic()
        if self._descriptor is not None:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            print(f"warning: the journal {self.path} can't be written: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        """Bring everything to the disk and let go of the file."""
        with self._mutex:
            if self._descriptor is None:
                return
            self._write()
            self._sync()
            self._wait_for_packing()
            os.close(self._descriptor)
            os.close(self._lock)
            self._descriptor = None


class JournalReader:
    """The reading side: complete lines from a byte offset on; it can go on where it stopped.

    Args:
        offset: where it begins.
        but: records whose lines begin so are passed over, which takes a tenth of the time of reading them.

    Attributes:
        offset: the byte behind the last line that was read, counted through all files, as if none were compressed.
        damaged: how many lines were no records.
    """

    def __init__(self, folder: Path, offset: int = 0, but: bytes = b"\n") -> None:
        self.folder = folder
        self.offset = offset
        self._but = but
        self.damaged = 0

    def read(self, max_bytes: int = _READ_SIZE) -> list[dict[str, Any]]:
        """The next records, about `max_bytes` of them. At the end, `offset` stays where it is; a torn line waits."""
        records = []
        for line in self.lines(max_bytes).split(b"\n"):
            if line.startswith(self._but):
                continue
            record = verified(line)
            if record is not None:
                records.append(record)
            else:
                self.damaged += bool(line.strip())
        return records

    def lines(self, max_bytes: int = _READ_SIZE) -> bytes:
        """As `read`, the lines as they were written."""
        while True:
            piece, end = pieces.containing(self.folder, self.offset)
            data = pieces.lines(piece, self.offset - piece.start, max_bytes)
            if data or end is None:
                break
            # A file that ends before the next one begins has lost something.
            self.damaged += self.offset < end
            self.offset = end
        self.offset += len(data)
        return data

    def rest(self) -> list[dict[str, Any]]:
        """All records up to the present end."""
        records: list[dict[str, Any]] = []
        before = -1
        while self.offset != before:
            before = self.offset
            records += self.read()
        return records


def _line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record).encode()
    return text[:-1] + _CHECK + b'%08x"}\n' % zlib.crc32(text)


def verified(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it doesn't verify."""
    text, _, check = line.rpartition(_CHECK)
    text += b"}"
    return dict(json.loads(text)) if check == b'%08x"}' % zlib.crc32(text) else None


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """All records of a run, a torn last line and damaged lines left out."""
    return JournalReader(folder).rest()


def last_time(folder: Path) -> float | None:
    """When the last record was written, in seconds since 1970; None where there is none."""
    piece = pieces.found(folder)[-1]
    end = piece.start + piece.path.stat().st_size
    data = JournalReader(folder, max(0, end - _READ_SIZE)).lines(2 * _READ_SIZE)
    records = (verified(line) for line in reversed(data.split(b"\n")))
    return next((record["time"] for record in records if record is not None), None)


def last_records(folder: Path, num_bytes: int = _READ_SIZE) -> list[dict[str, Any]]:
    """The records in about the last `num_bytes` of a journal."""
    piece = pieces.found(folder)[-1]
    end = piece.start + piece.path.stat().st_size
    return JournalReader(folder, max(0, end - num_bytes)).rest()


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

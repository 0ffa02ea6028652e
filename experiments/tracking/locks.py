"""Advisory file locks that vanish with their process, however it ends (flock)."""

from __future__ import annotations

import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: every lock is granted; there is no embedded server to share either
    fcntl = None  # type: ignore[assignment]

POLL_S = 0.02
AVAILABLE = fcntl is not None


def try_lock(descriptor: int, shared: bool) -> bool:
    """Take a lock on an open file at once, or say that somebody else holds it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_lock(descriptor: int, shared: bool, timeout: float) -> bool:
    """Take a lock on an open file within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not try_lock(descriptor, shared):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


class FileLock:
    """A lock file, private to its user."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, shared: bool = False, timeout: float = 0.0) -> bool:
        """Take the lock, waiting at most `timeout` seconds; False when others keep it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not wait_lock(descriptor, shared, timeout):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it isn't held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(path: Path, against_shared: bool = False) -> bool:
    """Whether another holds the lock file (`against_shared`: whether anybody holds it in any way)."""
    if not path.exists() or not AVAILABLE:
        return False
    lock = FileLock(path)
    free = lock.acquire(shared=not against_shared)
    lock.release()
    return not free

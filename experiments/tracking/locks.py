"""Advisory file locks that vanish with their process, however it ends (flock).

`filelock` does where a lock is only taken. These can be shared as well, be asked for, and be on a file that is written.
"""

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


def opened(path: Path, shared: bool = False, timeout: float = 0.0) -> int | None:
    """Open a lock file, private to its user, and take its lock within `timeout` seconds.

    Returns:
        The descriptor, which holds the lock until it is closed; None where others keep it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout
    while not try_lock(descriptor, shared):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        time.sleep(POLL_S)
    return descriptor


def is_locked(path: Path, against_shared: bool = False) -> bool:
    """Whether another holds the lock file (`against_shared`: whether anybody holds it in any way)."""
    if not path.exists() or not AVAILABLE:
        return False
    descriptor = opened(path, shared=not against_shared)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None

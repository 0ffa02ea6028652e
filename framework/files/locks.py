"""Locks by files, of which a failure leaves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold `PATH.lock` meanwhile, in a folder that is made if need be; a failure takes back both, as far as empty.

    Whoever waits for the lock finds its file gone and asks again: `filelock` sees to that.
    """
    from filelock import FileLock

    lock, made = Path(f"{path}.lock"), [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):
            try:
                yield
            except BaseException:
                # Windows removes no file that is open.
                with contextlib.suppress(OSError):
                    lock.unlink()
                raise
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise

"""Locks by files, of which a failure leaves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


@contextmanager
def held(lock: BaseFileLock, folder: Path) -> Iterator[None]:
    """Hold a lock meanwhile, in a folder that is made if need be; a failure takes back both, as far as they are empty.

    Whoever waits for the lock finds its file gone and asks again: `filelock` sees to that.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock, _removed_by_failure(Path(lock.lock_file)):
            yield
    except BaseException:
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()
        raise


@contextmanager
def _removed_by_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Windows removes no file that is open.
        with contextlib.suppress(OSError):
            path.unlink()
        raise

"""A process that is not the first of its world: it says nothing on the terminal, but in a file of the run's folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from experiments.distributed.environment import place

# The folder of such files, in a run's.
RANKS = "ranks"
_aside: list[Path] = []


def hush() -> None:
    """Send what this process says to a file, where another process leads."""
    found = place(os.environ)
    if found is None or found.rank == 0 or _aside:
        return
    descriptor, name = tempfile.mkstemp(prefix=f"rank-{found.rank}-", suffix=".log")
    _aside.append(Path(name))
    _send_to(descriptor)


def move(folder: Path, rank: int) -> None:
    """Go on in the run's folder, with what was said so far."""
    target = folder / RANKS / f"rank-{rank}.log"
    target.parent.mkdir(exist_ok=True)
    said = _aside.pop() if _aside else None
    if said is not None:
        target.write_bytes(said.read_bytes())
        said.unlink()
    _send_to(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


def drop() -> None:
    """Delete the file of a process that never had a run."""
    for path in _aside:
        path.unlink(missing_ok=True)
    _aside.clear()


def _send_to(descriptor: int) -> None:
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)

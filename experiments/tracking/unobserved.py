"""What takes a recorder's place, or a tracker's, where nothing is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class NoRecorder:
    """Hears of a training, and keeps nothing of it."""

    def _hear(self, *_: Any, **__: Any) -> None: ...

    started = metrics = artifact = ended = _hear


class Unobserved(NoRecorder):
    """A tracker for Sacred's `-u`: neither a journal nor a database hears of the run, whose folder has its files."""

    number = note = None
    annotate = record = publish = close = abandon = NoRecorder._hear

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uid = self.folder.name

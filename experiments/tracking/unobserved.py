"""What takes a recorder's place, or a tracker's, where nothing is written down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class NoRecorder:
    """Hears of a training, and keeps nothing of it."""

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """See `Recorder`."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Recorder`."""

    def artifact(self, path: Path) -> None:
        """See `Recorder`."""

    def ended(self, status: str, result: Mapping[str, Any]) -> None:
        """See `Recorder`."""


class Unobserved:
    """A tracker for Sacred's `-u`: neither a journal nor a database hears of the run.

    Args:
        folder: of the run's checkpoints and its student.
    """

    number = None
    note = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uid = self.folder.name

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """See `JournalRecorder`."""

    def metrics(self, step: int, values: Mapping[str, float], at: float | None = None) -> None:
        """See `JournalRecorder`."""

    def artifact(
        self,
        path: Path,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        content_type: str | None = None,
    ) -> None:
        """See `JournalRecorder`."""

    def annotate(self, **fields: Any) -> None:
        """See `JournalRecorder`."""

    def ended(
        self, status: str, result: Any = None, fail_trace: list[str] | None = None, at: float | None = None
    ) -> None:
        """See `JournalRecorder`."""

    def record(self, kind: str, at: float | None = None, sync: bool = False, **fields: Any) -> None:
        """See `JournalRecorder`."""

    def publish(self) -> None:
        """See `Tracker`."""

    def close(self, seconds: float | None = None) -> None:
        """See `Tracker`."""

    def abandon(self) -> None:
        """See `Tracker`."""

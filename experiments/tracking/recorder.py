"""Recorders: the journal alone, and the tracker, which brings the journal into a database behind the run's back."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pymongo
from pymongo.errors import PyMongoError

from experiments.tracking import files
from experiments.tracking.journal import Journal
from experiments.tracking.publisher import BEAT_S, Publisher
from experiments.tracking.scrub import scrub, scrub_text
from experiments.tracking.values import number, plain

if TYPE_CHECKING:
    from experiments.tracking.mongod import Destination
    from experiments.tracking.observer import SacredObserver

INTERVAL_S = 2.0
MAX_BACKOFF_S = 15.0
PUSH_S = 20.0
START_S = 3.0
CLOSE_S = 10.0


class JournalRecorder:
    """A `Recorder` that writes the journal of one run. Values are made plain, credentials are hidden.

    Attributes:
        folder: the run's folder; its name is the uid.
        uid: the run's stable name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uid = self.folder.name
        self._journal = Journal(self.folder)

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """The run begins. `fingerprint` and `fingerprint_no_seed` are taken from `environment`, else from `spec`."""
        self.record("started", sync=True, spec=spec, environment=environment)

    def metrics(self, step: int, values: Mapping[str, float], at: float | None = None) -> None:
        """Scalars after `step` updates.

        Args:
            step: updates that were done.
            values: name -> scalar of any library; NaN and infinities are kept.
            at: seconds since 1970; now by default.

        Raises:
            TypeError: a value is no scalar.
        """
        numbers = {str(name): number(name, value) for name, value in values.items()}
        self._journal.append("metrics", {"step": int(step), "values": numbers}, at)

    def artifact(
        self,
        path: Path,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        content_type: str | None = None,
    ) -> None:
        """A file that belongs to the run: a small one is copied and stored, a large one is described by its hash."""
        fields = files.keep(Path(path), self.folder, name or Path(path).name)
        if fields.get("missing"):
            print(f"warning: artifact {scrub_text(str(path))} is no file; the run goes on without it", file=sys.stderr)
        self.record("artifact", **fields, metadata=metadata, content_type=content_type)

    def annotate(self, **fields: Any) -> None:
        """Set fields of the run's document: `fingerprint=...`, `root_run=...`, `config=...`."""
        self.record("fields", fields=fields)

    def ended(
        self,
        status: str,
        result: Any = None,
        fail_trace: list[str] | None = None,
        at: float | None = None,
    ) -> None:
        """The run is over. A later end overrides an earlier one, whose result stays where the later has none."""
        self.record("ended", at=at, sync=True, status=status, result=result, fail_trace=fail_trace)

    def record(self, kind: str, at: float | None = None, sync: bool = False, **fields: Any) -> None:
        """Journal any values, made plain and without credentials; what is None is left out."""
        given = {name: value for name, value in fields.items() if value is not None}
        self._journal.append(kind, scrub(plain(given)), at, sync)

    def close(self) -> str | None:
        """Bring the journal to the disk and let go of it; nothing is left to say."""
        self._journal.close()
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Tracker(JournalRecorder):
    """Journal first, database second: a thread reads the journal and writes what is new, every few seconds.

    An outage of the database costs the run nothing: the thread tries again, and reads on where it stopped.

    Attributes:
        number: Sacred's number of the run in the database, or None.
        note: one line on what the database lacks, after `close`; None when it has everything.
    """

    def __init__(self, folder: Path, destination: Destination, interval: float = INTERVAL_S) -> None:
        super().__init__(folder)
        self._destination = destination
        self._interval = interval
        self._publisher = Publisher(self.folder, destination.database) if destination.database is not None else None
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._failure = ""
        self.note: str | None = None
        self._thread: threading.Thread | None = None
        if self._publisher is not None:
            self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            self._thread.start()

    @property
    def number(self) -> int | None:
        """Sacred's number of the run, as soon as the database gave one."""
        return self._publisher.number if self._publisher is not None else None

    @property
    def observer(self) -> SacredObserver:
        """An observer for a Sacred experiment: `experiment.observers.append(tracker.observer)`."""
        from experiments.tracking.observer import SacredObserver

        return SacredObserver(self)

    def ended(
        self,
        status: str,
        result: Any = None,
        fail_trace: list[str] | None = None,
        at: float | None = None,
    ) -> None:
        """The run is over; the database hears of it soon."""
        super().ended(status, result, fail_trace, at)
        self._wake.set()

    def publish(self, timeout: float = START_S) -> int | None:
        """Bring what there is into the database now, waiting at most about `timeout` seconds.

        Returns:
            The run's number, or None when the database wasn't reached.
        """
        if self._publisher is not None and self._mutex.acquire(timeout=timeout):
            try:
                self._push(timeout)
            finally:
                self._mutex.release()
        return self.number

    def close(self, timeout: float = CLOSE_S) -> str | None:
        """Write what is left, within `timeout` seconds (twice that where the embedded server has to be started again).

        Returns:
            One line on what the database lacks and how it gets it, or None.
        """
        if self._thread is not None:
            self._closing = True
            self._wake.set()
            if not self._finish(timeout) and self._destination.revive():
                self._finish(timeout)
            self._thread.join(timeout=1.0)
            self._thread = None
        super().close()
        return self.note

    def _finish(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        done = False
        while not done and (left := deadline - time.monotonic()) > 0:
            if self._mutex.acquire(timeout=left):
                try:
                    done = self._push(left)
                finally:
                    self._mutex.release()
            if self._failure:
                time.sleep(min(0.3, max(0.0, left)))
        self.note = None if done else self._lacking()
        return done

    def _lacking(self) -> str:
        return scrub_text(
            f"{self._destination.describe()} doesn't have all of run {self.uid}"
            f"{f' ({self._failure})' if self._failure else ''}; nothing is lost: "
            f"`{self._destination.replay_command()}` brings it there"
        )

    def _push(self, timeout: float) -> bool:
        """One step of writing; True when the database has the journal to its present end."""
        assert self._publisher is not None
        try:
            with pymongo.timeout(max(0.1, timeout)):
                done = self._publisher.push()
        except PyMongoError as error:
            self._failure = reason(error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end a run that has its journal
            self._failure = f"{type(error).__name__}: {reason(error)}"
            return False
        self._failure = ""
        return done

    def _work(self) -> None:
        """The thread: follow the journal; wait longer and longer while the database is away."""
        pause, beat, size = 0.0, 0.0, -1
        while not self._closing:
            self._wake.wait(pause or self._interval)
            self._wake.clear()
            now, grown = time.monotonic(), self._journal.size()
            if (grown == size and now - beat < BEAT_S) or self._closing:
                continue
            with self._mutex:
                while not self._closing and not self._push(PUSH_S) and not self._failure:
                    pass
            size, beat = (-1 if self._failure else grown), now
            pause = min(MAX_BACKOFF_S, max(self._interval, 2 * pause)) if self._failure else 0.0


def reason(error: BaseException) -> str:
    """The first, telling part of an error of pymongo (whose messages run over many lines), without credentials."""
    text = str(error).split("\n")[0]
    for tail in (" (configured timeouts", ", Timeout:", ", full error:"):
        text = text.split(tail)[0]
    return scrub_text(text[:200]) or type(error).__name__

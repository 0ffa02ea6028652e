"""Recorders: the journal alone, and the tracker, which brings the journal into a database in the background."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pymongo
from pymongo.errors import PyMongoError

from experiments.tracking import files
from experiments.tracking.journal import Journal
from experiments.tracking.mongod import Destination, within
from experiments.tracking.publisher import BEAT_S, Publisher
from experiments.tracking.scrub import reason, scrub, scrub_text
from experiments.tracking.values import number, plain


@dataclass(frozen=True)
class Pace:
    """How long a tracker waits for its database, in seconds. All that the run itself waits is `start` and `close`.

    Attributes:
        interval: the thread, between two looks at the journal.
        push: the thread, for one write.
        backoff: the thread, between two writes that fail, at most.
        start: the run, for its number.
        close: the run, for what is still to be written at its end; the embedded server is started again meanwhile.
    """

    interval: float = 2.0
    push: float = 20.0
    backoff: float = 15.0
    start: float = 4.0
    close: float = 13.0


PACE = Pace()
# The embedded server is started again after so many seconds at the end, at the latest.
TRY_S = 5.0


class JournalRecorder:
    """A `Recorder` that writes the journal of one run, whose `uid` is the name of its folder.

    Values are made plain, credentials are hidden.
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
            told = f"artifact {scrub_text(str(path))} is not a file; the run continues without it"
            print(f"warning: {told}", file=sys.stderr)
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

    def __exit__(self, *_: object) -> None:
        self.close()


class Tracker(JournalRecorder):
    """Journal first, database second: a thread reads the journal and writes what is new, every few seconds.

    An outage of the database costs the run nothing: the thread tries again, and reads on where it stopped.

    Attributes:
        note: one line on what the database lacks, after `close`; None when it has everything.
    """

    def __init__(self, folder: Path, destination: Destination, pace: Pace = PACE) -> None:
        super().__init__(folder)
        self._destination = destination
        self._pace = pace
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
    def number(self) -> int | str | None:
        """Sacred's number of the run, or the name that it was given, as soon as the database has it."""
        return self._publisher.number if self._publisher is not None else None

    def record(self, kind: str, at: float | None = None, sync: bool = False, **fields: Any) -> None:
        """As in a journal; that the run has ended, the database hears soon."""
        super().record(kind, at, sync, **fields)
        if kind == "ended":
            self._wake.set()

    def publish(self) -> int | str | None:
        """Bring what there is into the database now, waiting at most `pace.start` seconds.

        Returns:
            The run's number, or None when the database wasn't reached.
        """
        if self._publisher is not None:
            self._locked(time.monotonic() + self._pace.start)
        return self.number

    def close(self, seconds: float | None = None) -> str | None:
        """Write what is left; an embedded server that has ended is started again.

        Args:
            seconds: that it may take at most; `pace.close` by default.

        Returns:
            One line on what the database lacks and how it gets it, or None.
        """
        if self._thread is not None:
            self._closing = True
            self._wake.set()
            seconds = self._pace.close if seconds is None else seconds
            deadline = time.monotonic() + seconds
            done = self._finish(deadline - seconds + min(0.4 * seconds, TRY_S))
            if not done:
                within(deadline - time.monotonic(), self._destination.revive, False)
                done = self._finish(deadline)
            self.note = self._superseded() if done else self._lacking()
            self._thread.join(timeout=1.0)
            self._thread = None
        super().close()
        return self.note

    def abandon(self) -> None:
        """Undo what was written down of a run that never began."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=self._pace.start)
            self._thread = None
        super().close()
        if self.number is not None and self._destination.database is not None:
            with contextlib.suppress(PyMongoError), pymongo.timeout(self._pace.start):
                self._destination.database.runs.delete_one({"uid": self.uid, "queue": {"$exists": False}})
        shutil.rmtree(self.folder, ignore_errors=True)

    def _finish(self, deadline: float) -> bool:
        """Write until the database has everything, or the time is over."""
        while not (done := self._locked(deadline)) and (left := deadline - time.monotonic()) > 0:
            if self._failure:
                time.sleep(min(0.3, left))
        return done

    def _locked(self, deadline: float) -> bool:
        """One step of writing, once the thread has ended its own; False where the time is over before."""
        if not self._mutex.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return False
        try:
            return self._push(deadline - time.monotonic())
        finally:
            self._mutex.release()

    def _superseded(self) -> str | None:
        if self._publisher is None or not self._publisher.superseded:
            return None
        return f"run {self.number} was given back to the queue meanwhile: what is in {self.folder} is not its result"

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
            self._wake.wait(pause or self._pace.interval)
            self._wake.clear()
            now, grown = time.monotonic(), self._journal.size()
            if (grown == size and now - beat < BEAT_S) or self._closing:
                continue
            with self._mutex:
                while not self._closing and not self._push(self._pace.push) and not self._failure:
                    pass
            size, beat = (-1 if self._failure else grown), now
            longer = min(self._pace.backoff, max(self._pace.interval, 2 * pause))
            pause = longer if self._failure else 0.0

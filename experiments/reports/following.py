"""A run as it stands now, looked at again and again: from its journal where that is here, else from the database."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.tracking import queries
from experiments.tracking.dead import liveness
from experiments.tracking.documents import RunDocument
from experiments.tracking.folders import RUNS, run_folders
from experiments.tracking.journal import JOURNAL, JournalReader, is_alive, verified
from experiments.tracking.journals import METRICS, FewMetrics
from experiments.tracking.source import Document, Points, Runs
from framework.errors import UserError

# Points of a curve: more than a terminal has columns.
_POINTS = 400
# The speed is that of so many of the last points.
_RECENT = 30
RUNNING = ("RUNNING", "QUEUED")


@dataclass(frozen=True)
class State:
    """What is known of a run: `name` is its number or uid, `speed` is in updates a second lately.

    `status` is Sacred's, or what is thought of a run that nothing is heard of.
    """

    name: str
    status: str
    document: Mapping[str, Any]
    curves: Mapping[str, Points]
    speed: float | None

    @property
    def runs(self) -> bool:
        """Whether there is more to come."""
        return self.status.startswith(RUNNING)

    @property
    def step(self) -> int:
        """Updates that are known to be done."""
        return max((int(points.steps[-1]) for points in self.curves.values() if len(points.steps)), default=0)

    @property
    def total(self) -> int | None:
        """Updates in all, as far as that is written down."""
        config = self.document.get("config") or {}
        found = self.document.get("total_steps") or (config.get("duration") or {}).get("total_steps")
        return int(found) if found else None

    def last(self, metric: str) -> float | None:
        """The latest value of a metric."""
        points = self.curves.get(metric)
        return float(points.values[-1]) if points is not None and len(points.values) else None


class InJournal:
    """A run whose folder is here. `look` says how it stands: only what was added is read."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._reader, self._metrics, self._run = JournalReader(folder), FewMetrics(_POINTS), RunDocument(folder.name)
        self._recent: deque[bytes] = deque(maxlen=_RECENT)

    def look(self) -> State:
        # Before reading: what a process has written when it ends is read then.
        alive = is_alive(self._folder)
        while data := self._reader.lines():
            self._metrics.add(data)
            for line in data.split(b"\n"):
                if line.startswith(METRICS):
                    self._recent.append(line)
                elif (record := verified(line)) is not None:
                    self._run.fold(record)
        status = str(self._run.fields["status"]) if self._run.ended or alive else "DEAD"
        return State(self._name, status, self._run.fields, self._metrics.series(), self._speed())

    def _speed(self) -> float | None:
        records = [record for line in self._recent if (record := verified(line))]
        return _speed([(record["time"], record["step"]) for record in records])


class InRuns:
    """A run in a database, looked at as `InJournal`."""

    def __init__(self, runs: Runs, document: Document) -> None:
        self._runs, self._id = runs, document["_id"]
        self._seen: deque[tuple[float, int]] = deque(maxlen=_RECENT)

    def look(self) -> State:
        document = queries.find_run(self._runs, self._id)
        status = liveness(str(document.get("status")), document.get("heartbeat"))
        curves = self._runs.thinned([document], _POINTS)[document["_id"]]
        state = State(str(document["_id"]), status, document, curves, None)
        if not self._seen or self._seen[-1][1] != state.step:
            self._seen.append((time.monotonic(), state.step))
        return replace(state, speed=_speed(self._seen))


Followed = InJournal | InRuns


def _speed(seen: Sequence[tuple[float, int]]) -> float | None:
    """Updates a second from moments and steps."""
    if len(seen) < 2 or seen[-1][0] <= seen[0][0] or seen[-1][1] <= seen[0][1]:
        return None
    return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])


def follow(runs: Runs, root: Path, run: str | None, local: bool) -> Followed:
    """The run that is meant: by its name; else the latest that is running, else the latest.

    Args:
        root: the folder of runs.
        run: number, uid or its beginning; None for the latest.
        local: whether the runs in `root` are those of `runs`.

    Raises:
        UserError: there is no such run, or none at all.
    """
    folder = _living(root) if run is None and local else None
    if folder is not None:
        return InJournal(folder.name, folder)
    document = queries.find_run(runs, run) if run is not None else _latest(runs)
    folder = Path((document.get("journal") or {}).get("folder") or root / RUNS / str(document.get("uid")))
    return InJournal(str(document["_id"]), folder) if (folder / JOURNAL).is_file() else InRuns(runs, document)


def _living(root: Path) -> Path | None:
    """The folder of the latest run whose process lives; the database may not have heard of it yet."""
    return next((folder for folder in reversed(run_folders(root)) if is_alive(folder)), None)


def _latest(runs: Runs) -> Document:
    found = runs.latest({"$and": [{"status": {"$eq": "RUNNING"}}]}, 1) or runs.latest({}, 1)
    if not found:
        raise UserError("there is no run to watch")
    return queries.find_run(runs, found[0]["_id"])

"""Where runs are read from, in the form that queries need: a MongoDB database, or the journals alone."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from bson import ObjectId
from gridfs import GridFS
from numpy.typing import NDArray
from pymongo.database import Database

from experiments.tracking import files
from experiments.tracking.documents import Thinned
from experiments.tracking.folders import is_number
from experiments.tracking.values import Mongo

Document = dict[str, Any]
# What lists of runs need: not the output, the sources and the metrics of each.
LISTED = (
    "uid",
    "status",
    "start_time",
    "stop_time",
    "heartbeat",
    "command",
    "experiment.name",
    "host.hostname",
    "fingerprint",
    "fingerprint_no_seed",
    "config",
    "result",
    "environment",
    "root_run",
    "resumed_from",
    "sweep",
)
# More runs than these are not told where a name fits several.
FEW = 4


class Points(NamedTuple):
    """One metric of one run, each of shape [number of points].

    Attributes:
        steps: updates done, int64.
        values: float64.
        times: seconds since 1970, float64.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    times: NDArray[np.float64]


class Captured(NamedTuple):
    """One source file of a run: the MD5 of its content, and what gives it; None where it is lost."""

    md5: str
    read: Callable[[], bytes | None]


class Runs(Protocol):
    """Answers from documents of Sacred's layout; see `experiments.tracking.documents`."""

    def latest(self, where: Mapping[str, Any], count: int | None = None, also: Sequence[str] = ()) -> list[Document]:
        """What lists show of the runs that meet a filter of MongoDB's, the latest first; `count` of them, or all.

        Fields of `also` are added.
        """

    def named(self, text: str) -> list[Document]:
        """The whole run of this number or name; else runs whose uid begins so, `FEW` at most."""

    def beside(self, field: str, value: str, known: Iterable[str | None]) -> Document | None:
        """The latest run with this value of a field whose uid is not among the known ones."""

    def metrics(self, uids: Iterable[str | None]) -> list[str]:
        """The names of all metrics of some runs, in order."""

    def points(self, uid: str | None, metric: str) -> Points:
        """One metric of a run as it was recorded; none where it has none."""

    def thinned(self, documents: Sequence[Document], count: int) -> dict[Any, dict[str, Points]]:
        """The metrics of many runs, by id and name: of each `count` points or less, evenly chosen, and its last one.

        Their times may be NaN.
        """

    def file(self, document: Document, name: str) -> bytes | None:
        """A small file of a run by its name, of a document with `files` and `artifacts`; None where there is none."""

    def sources(self, document: Document) -> dict[str, Captured]:
        """The source files of a whole run, by name."""


class InDatabase(Runs):
    """The runs of a database."""

    def __init__(self, database: Mongo) -> None:
        self._database = database

    def latest(self, where: Mapping[str, Any], count: int | None = None, also: Sequence[str] = ()) -> list[Document]:
        fields, runs, limit = dict.fromkeys((*LISTED, *also), 1), self._database.runs, count or 0
        # What waits in a queue has never begun, and is the latest all the same.
        waiting = runs.find({"$and": [{"start_time": None}, dict(where)]}, fields).sort("_id", -1).limit(limit)
        begun = runs.find({"$and": [{"start_time": {"$ne": None}}, dict(where)]}, fields)
        begun = begun.sort([("start_time", -1), ("_id", -1)]).limit(limit)
        return list(itertools.islice(itertools.chain(waiting, begun), count))

    def named(self, text: str) -> list[Document]:
        runs = self._database.runs
        found = runs.find_one({"_id": {"$in": _ids(text)}})
        if found is not None:
            return [found]
        if not text or is_number(text):
            return []
        return list(runs.find({"uid": {"$regex": f"^{re.escape(text)}"}}).limit(FEW))

    def beside(self, field: str, value: str, known: Iterable[str | None]) -> Document | None:
        wanted = {"$and": [{field: value}, {"uid": {"$nin": list(known)}}]}
        return self._database.runs.find_one(wanted, sort=[("uid", -1)])

    def metrics(self, uids: Iterable[str | None]) -> list[str]:
        return sorted(self._database.metric_chunks.distinct("name", {"uid": {"$in": list(uids)}}))

    def points(self, uid: str | None, metric: str) -> Points:
        fields = {"steps": 1, "values": 1, "times": 1}
        chunks = list(self._database.metric_chunks.find({"uid": uid, "name": metric}, fields).sort("chunk", 1))
        return points(*([item for chunk in chunks for item in chunk[name]] for name in fields))

    def thinned(self, documents: Sequence[Document], count: int) -> dict[Any, dict[str, Points]]:
        found: dict[Any, dict[str, Points]] = {each["_id"]: {} for each in documents}
        wanted = {"run_id": {"$in": list(found)}}
        fields = {"run_id": 1, "name": 1, "steps": 1, "values": 1, "timestamps": {"$slice": 1}}
        # Of a queued run each attempt has its own: a later one goes on from where it began.
        whole: dict[tuple[Any, str], dict[int, float]] = {}
        for each in sorted(self._database.metrics.find(wanted, fields), key=lambda each: each["timestamps"]):
            before = whole.get((each["run_id"], each["name"]), {})
            kept = {step: value for step, value in before.items() if step < min(each["steps"], default=math.inf)}
            whole[each["run_id"], each["name"]] = kept | dict(zip(each["steps"], each["values"], strict=True))
        for (run, name), curve in whole.items():
            # Sacred's own copy of each metric is thinned already.
            few: Thinned[tuple[int, float]] = Thinned(count)
            for point in curve.items():
                few.add(point)
            steps, values = zip(*few.items(), strict=True) if curve else ((), ())
            found[run][name] = points(list(steps), list(values), [math.nan] * len(steps))
        return found

    def sources(self, document: Document) -> dict[str, Captured]:
        pairs = (document.get("experiment") or {}).get("sources") or []
        fields = {"md5": 1, "metadata.md5": 1}
        files = self._database["fs.files"].find({"_id": {"$in": [file for _, file in pairs]}}, fields)
        # Stock Sacred's files have no MD5 any more: their own id tells them apart.
        known = {each["_id"]: (each.get("metadata") or each).get("md5") or str(each["_id"]) for each in files}
        return {name: Captured(known[file], partial(self._read, file)) for name, file in pairs if file in known}

    def _read(self, file: Any) -> bytes:
        content: bytes = GridFS(self._database).get(file).read()
        return content

    def file(self, document: Document, name: str) -> bytes | None:
        return files.kept(document, name) or files.uploaded(self._database, document, name)


def listed(document: Document, also: Sequence[str] = ()) -> Document:
    """What lists show of a run, and fields beside."""
    kept: Document = {"_id": document["_id"]}
    for name in (*LISTED, *also):
        *path, last = name.split(".")
        found: Any = document
        place = kept
        for part in path:
            found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping) and last in found:
            for part in path:
                place = place.setdefault(part, {})
            place[last] = found[last]
    return kept


def points(steps: list[int], values: list[float], times: list[float]) -> Points:
    return Points(np.asarray(steps, np.int64), np.asarray(values, np.float64), np.asarray(times, np.float64))


def runs_of(source: Runs | Mongo) -> Runs:
    """What queries were given, in the form that they need."""
    return InDatabase(source) if isinstance(source, Database) else source


def _ids(text: str) -> list[Any]:
    """The ids that a text may mean: Sacred's numbers, names of one's own, and MongoDB's."""
    number = [int(text)] if text.isdigit() and len(text) < 19 else []
    return [text, *number, *([ObjectId(text)] if ObjectId.is_valid(text) else [])]

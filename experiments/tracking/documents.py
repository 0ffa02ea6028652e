"""From journal records to MongoDB's documents: a pure function of the journal, the same live and in a replay.

`runs`: Sacred's layout with a few more fields (`uid`, `fingerprint`, `fingerprint_no_seed`, `environment`, `files`).
`metric_chunks`: every point, 2,000 a document. `metrics`: Sacred's layout with a thinned preview of each metric.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from bson import ObjectId

from experiments.tracking.values import bson_safe

T = TypeVar("T")

CHUNK = 2000
PREVIEW = 1000
LAYOUT = "PatientTeachers-1"
MAX_TRACE_LINES = 200
_LIFTED = ("fingerprint", "fingerprint_no_seed")


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as the naive UTC time that Sacred stores."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def nothing_yet() -> dict[str, Any]:
    """The fields of a run that has not begun."""
    return {
        "resources": [],
        "artifacts": [],
        "files": [],
        "captured_out": "",
        "info": {},
        "heartbeat": None,
        "result": None,
    }


class RunDocument:
    """A run's document in `runs`, folded from records.

    Attributes:
        fields: the document without `_id`.
        changed: the top-level fields that changed since they were last written.
        artifacts: name -> the latest record of a file that may be uploaded.
        ended: whether an end was recorded.
        last_time: when the last record was written, in seconds since 1970.
        wanted_id: what the user wants the run to be called in a database; None leaves it to the database.
    """

    def __init__(self, uid: str) -> None:
        self.fields: dict[str, Any] = {
            "uid": uid,
            "format": LAYOUT,
            "status": "RUNNING",
            "command": "",
            "experiment": {"name": "", "base_dir": "", "sources": [], "dependencies": [], "repositories": []},
            "host": {},
            "meta": {},
            "config": {},
            **nothing_yet(),
        }
        self.changed = set(self.fields)
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.ended = False
        self.last_time = 0.0
        self.wanted_id: int | str | None = None

    def set(self, **fields: Any) -> None:
        """Take over top-level fields (plain values or datetimes)."""
        for name, value in fields.items():
            value = value if isinstance(value, datetime) else bson_safe(value)
            if self.fields.get(name, self) != value:
                self.fields[name] = value
                self.changed.add(name)

    def fold(self, record: dict[str, Any]) -> None:
        """Take one record in; unknown types are passed over, so that newer journals can be read."""
        self.last_time = record["time"]
        fold = getattr(self, f"_fold_{record['type']}", None)
        if fold is not None:
            fold(record)

    def add_metric(self, name: str, document_id: ObjectId) -> None:
        """List a metric where Sacred's tools look for it."""
        listed = [*self.fields["info"].get("metrics", []), {"name": name, "id": str(document_id)}]
        self.set(info={**self.fields["info"], "metrics": listed})

    def _fold_journal(self, record: dict[str, Any]) -> None:
        if "start_time" not in self.fields:
            self.set(start_time=moment(record["time"]), host={"hostname": record.get("host", "")})

    def _fold_id(self, record: dict[str, Any]) -> None:
        self.wanted_id = record["id"]

    def _fold_run(self, record: dict[str, Any]) -> None:
        """Sacred's own start: experiment, command, host, config, meta."""
        names = ("experiment", "command", "host", "config", "meta")
        self.set(start_time=moment(record["time"]), **{name: record[name] for name in names if name in record})

    def _fold_started(self, record: dict[str, Any]) -> None:
        environment, spec = record.get("environment") or {}, record.get("spec") or {}
        lifted = {name: environment.get(name, spec.get(name)) for name in _LIFTED}
        self.set(environment=environment, spec=spec, **{name: value for name, value in lifted.items() if value})
        if not self.fields["config"]:
            extra = {name: environment[name] for name in ("backend", "device") if name in environment}
            self.set(config={**spec, **extra})

    def _fold_fields(self, record: dict[str, Any]) -> None:
        self.set(**{name: value for name, value in record["fields"].items() if name not in ("_id", "uid")})

    def _fold_info(self, record: dict[str, Any]) -> None:
        self.set(info={**record["info"], "metrics": self.fields["info"].get("metrics", [])})

    def _fold_resource(self, record: dict[str, Any]) -> None:
        self.set(resources=[*self.fields["resources"], [record["path"], record["md5"]]])

    def _fold_artifact(self, record: dict[str, Any]) -> None:
        kept = ("name", "path", "size", "sha256", "stored", "missing", "metadata")
        entry = {name: record[name] for name in kept if name in record}
        others = [file for file in self.fields["files"] if file["name"] != record["name"]]
        self.set(files=[*others, entry])
        if record.get("stored"):
            self.artifacts[record["name"]] = record

    def _fold_ended(self, record: dict[str, Any]) -> None:
        self.ended = True
        self.set(status=record["status"], stop_time=moment(record["time"]))
        if record.get("result") is not None:
            self.set(result=record["result"])
        if record.get("fail_trace"):
            self.set(fail_trace=record["fail_trace"][-MAX_TRACE_LINES:])


class Thinned(Generic[T]):
    """At most `limit` of the items that come, evenly chosen, and always the last one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stride = 1
        self._count = 0
        self._items: list[T] = []
        self._last: list[T] = []

    def add(self, item: T) -> None:
        self._last = [item]
        if self._count % self._stride == 0:
            self._items.append(item)
            if len(self._items) >= self._limit:
                self._items = self._items[::2]
                self._stride *= 2
        self._count += 1

    def items(self) -> list[T]:
        """What is kept, in the order of arrival."""
        return self._items if (self._count - 1) % self._stride == 0 else [*self._items, *self._last]


class Series:
    """One metric of one run: the preview, and the points from the first chunk on that is not written or not full."""

    def __init__(self, uid: str, name: str) -> None:
        self.uid, self.name = uid, name
        self.preview: Thinned[tuple[int, float, float]] = Thinned(PREVIEW)
        self.dirty = False
        # Other Sacred tools expect this type.
        self.preview_id = ObjectId(hashlib.sha256(f"{uid}:{name}".encode()).digest()[:12])
        self._first = 0
        self._points: list[tuple[int, float, float]] = []

    def add(self, step: int, value: float, time: float) -> None:
        self._points.append((step, value, time))
        self.preview.add((step, value, time))
        self.dirty = True

    def chunks(self) -> list[dict[str, Any]]:
        """The documents to be written, the one that is being filled included."""
        return [self._chunk(start) for start in range(0, len(self._points), CHUNK)]

    def written(self) -> None:
        """All that `chunks` gave is in the database."""
        full = len(self._points) // CHUNK
        del self._points[: full * CHUNK]
        self._first += full
        self.dirty = False

    def preview_document(self, run_id: Any) -> dict[str, Any]:
        """The metric in Sacred's own layout."""
        points = self.preview.items()
        return {
            "_id": self.preview_id,
            "run_id": run_id,
            "name": self.name,
            "steps": [point[0] for point in points],
            "values": [point[1] for point in points],
            "timestamps": [moment(point[2]) for point in points],
        }

    def _chunk(self, start: int) -> dict[str, Any]:
        number = self._first + start // CHUNK
        steps, values, times = map(list, zip(*self._points[start : start + CHUNK], strict=True))
        return {
            "_id": f"{self.uid}:{self.name}:{number}",
            "uid": self.uid,
            "name": self.name,
            "chunk": number,
            "steps": steps,
            "values": values,
            "times": times,
        }

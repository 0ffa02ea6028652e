"""A run's document as one flat row, and the fields that rows have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Union

from experiments.tracking.fields import flatten
from experiments.tracking.source import Runs, runs_of
from experiments.tracking.values import Mongo

# What queries ask: a pymongo database of runs, `InJournals`, or what `readers.opened` gives.
Source = Union[Runs, "Mongo"]
Where = Iterable[str] | Mapping[str, Any] | None
ID = int | str
BASE = ("id", "uid", "status", "start_time", "duration_s", "fingerprint", "fingerprint_no_seed")
_KNOWN_FROM = 500


def known_fields(source: Source) -> set[str]:
    """The fields of the latest runs (all of them where they are few)."""
    documents = runs_of(source).latest({}, _KNOWN_FROM)
    return {name for document in documents for name in row_of(document)} | set(BASE)


def row_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with dotted fields, its id and how long the run took; a result that is None is left out."""
    given = {key: value for key, value in document.items() if key != "_id" and not (key == "result" and value is None)}
    row = {"id": document["_id"], **flatten(given)}
    start, stop = document.get("start_time"), document.get("stop_time") or document.get("heartbeat")
    row["duration_s"] = (stop - start).total_seconds() if start and stop else None
    return row


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {} if value is None else {"value": value}

"""What the page of some runs shows, as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from experiments.reports import again, curves, pictures
from experiments.tracking import queries
from experiments.tracking.differences import by_teacher
from experiments.tracking.fields import conditions, flatten
from experiments.tracking.source import Document, Runs, listed

# What is read of each run, beside what lists show.
_ALSO = (
    *("experiment.repositories", "experiment.dependencies", "host.os", "host.cpu", "host.gpus", "host.python_version"),
    *("meta.named_configs", "meta.options.--comment", "files", "artifacts", "journal", "resumed_at", "fail_trace"),
)
# What has a place of its own on the page.
_APART = ("files", "artifacts", "journal", "meta.named_configs", "fail_trace")
_LONGEST = 300
_DIGITS = 6


def chosen(runs: Runs, ids: Sequence[str], where: Iterable[str], last: int | None) -> list[Document]:
    """The runs that are meant, the latest first: some by their ids, or all that meet the conditions.

    Raises:
        UserError: no such run, or a field that no run has.
    """
    if ids:
        return [listed(queries.find_run(runs, run), _ALSO) for run in dict.fromkeys(ids)]
    wanted = list(where)
    return runs.latest(conditions(wanted, queries.known_fields(runs)) if wanted else {}, last, _ALSO)


def payload(runs: Runs, documents: Sequence[Document]) -> dict[str, Any]:
    """All that the page shows of documents of `chosen`, of which there is at least one.

    Returns:
        JSON's types. `fields` are the names of what differs between the runs, `same` what all have; a run's `values`
        are in the order of `fields`. `curves` and `pictures` go by the runs' places.
    """
    lines = _lines(runs, documents)
    rows = [_row(document) for document in documents]
    names = list(dict.fromkeys(name for row in rows for name in row))
    alike = [name for name in names if all(name in row and row[name] == rows[0][name] for row in rows)]
    same = {name: rows[0][name] for name in alike} if len(rows) > 1 else {}
    fields = [name for name in names if name not in same]
    shown, left_out = pictures.collected(runs, documents)
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "fields": fields,
        "same": same,
        "runs": [
            _run(document, label, lines[document["_id"]]) | {"values": [row.get(name) for name in fields]}
            for document, label, row in zip(documents, queries.called(documents), rows, strict=True)
        ],
        "curves": curves.collected(runs, lines),
        "pictures": shown,
        "left_out": left_out,
    }


def _row(document: Document) -> dict[str, Any]:
    """The fields of a run that a table may show."""
    row = queries.row_of(document)
    for part in ("config", "environment"):
        row |= flatten(by_teacher(row.pop(f"{part}.teachers", None)), f"{part}.")
    return {
        name: _plain(value)
        for name, value in row.items()
        if value not in (None, [], {}) and not any(name == part or name.startswith(f"{part}.") for part in _APART)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list | tuple) and all(isinstance(item, bool | int | float | str) for item in value):
        return [_plain(item) for item in value]
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _run(document: Document, label: str, line: Sequence[Document]) -> dict[str, Any]:
    """What has a place of its own on the page."""
    told: dict[str, Any] = {"id": str(document["_id"]), "label": label, "again": again.command(document)}
    if len(line) > 1:
        told["line"] = [{"id": str(each["_id"]), **_segment(each)} for each in line]
    if document.get("fail_trace"):
        told["trace"] = "".join(document["fail_trace"])[-2000:]
    return told


def _segment(document: Document) -> dict[str, Any]:
    names = ("uid", "status", "start_time", "resumed_at")
    return {name: _plain(document[name]) for name in names if document.get(name) is not None}


def _lines(runs: Runs, documents: Sequence[Document]) -> dict[Any, list[Document]]:
    """The segments of each run, in their order: what `queries.segments` gives, for many at once."""
    resumed = runs.latest({"$and": [{"resumed_from": {"$ne": None}}]}, None, _ALSO)
    involved = {each.get("resumed_from") for each in resumed} | {each.get("uid") for each in resumed}
    return {
        each["_id"]: queries.segments(runs, each) if each.get("uid") in involved - {None} else [each]
        for each in documents
    }

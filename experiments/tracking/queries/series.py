"""Metrics over steps: every point of a run and of the segments that it was resumed in."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.tracking.queries.rows import ID, Source, mapping
from experiments.tracking.queries.runs import find_run
from experiments.tracking.source import Document, Points, Runs, runs_of
from framework.errors import UserError, near

_TEACHERS = re.compile(r"\.teacher(\d*)\.")


def curves(source: Source, runs: Sequence[ID], metrics: Iterable[str] | None = None) -> pd.DataFrame:
    """Every point of the runs' metrics; each step once (the last value that was recorded for it).

    A run that went on from another one, or that another one went on from, is read as one with it.

    Args:
        metrics: names, or patterns such as `train.*`; all by default.

    Returns:
        Columns run, uid, metric, step (int64), value (float64), time (UTC); by run, metric and step.

    Raises:
        UserError: no such run, or a metric that none of them has.
    """
    documents = [find_run(source, run) for run in runs]
    lines = [segments(source, document) for document in documents]
    uids = [segment.get("uid") for line in lines for segment in line]
    names = runs_of(source).metrics(uids)
    chosen = names if metrics is None else _chosen(list(metrics), names)
    frames = [
        _line(runs_of(source), document, line, name)
        for document, line in zip(documents, lines, strict=True)
        for name in chosen
    ]
    empty = pd.DataFrame({name: [] for name in ("run", "uid", "metric", "step", "value", "time")})
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else empty


def _chosen(wanted: list[str], names: list[str]) -> list[str]:
    chosen: list[str] = []
    for pattern in wanted:
        found = fnmatch.filter(names, pattern) or [name for name in names if name.endswith(f".{pattern}")]
        if not found:
            raise UserError(f"no metric {pattern!r}; {near(pattern, names) if names else 'these runs have none'}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def _line(runs: Runs, document: Mapping[str, Any], line: Sequence[Mapping[str, Any]], name: str) -> pd.DataFrame:
    found = joined([(segment, runs.points(segment.get("uid"), name)) for segment in line])
    about = {"run": document["_id"], "uid": document.get("uid"), "metric": name}
    times = pd.to_datetime(found.times, unit="s", utc=True)
    return pd.DataFrame({**about, "step": found.steps, "value": found.values, "time": times})


def joined(line: Sequence[tuple[Mapping[str, Any], Points]]) -> Points:
    """One metric of a run's segments in their order: each step once, with the last value that was recorded for it.

    What a segment did past the start of a later one was done again there.
    """
    parts = []
    for place, (_, each) in enumerate(line):
        starts = [later["resumed_at"] for later, _ in line[place + 1 :] if "resumed_at" in later]
        kept = each.steps <= min(starts, default=math.inf)
        parts.append([column[kept] for column in each])
    steps, values, times = (np.concatenate(columns)[::-1] for columns in zip(*parts, strict=True))
    _, last = np.unique(steps, return_index=True)
    return Points(steps[last], values[last], times[last])


def segments(source: Source, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that are one run in several segments, in their order, of which the document is any.

    Where several went on from one, the line is the one that this is on, and then the latest.
    """
    runs, line = runs_of(source), [dict(document)]
    while found := _former(line[0]) or _beside(runs, "uid", line[0].get("resumed_from"), line):
        line.insert(0, found)
    while found := _beside(runs, "resumed_from", line[-1].get("uid"), line):
        line.append(found)
    return line


def _former(document: Mapping[str, Any]) -> Document | None:
    """The attempt at a queued run that this one went on from: both are of one document."""
    before, queue = document.get("resumed_from"), document.get("queue") or {}
    attempts = [each for each in queue.get("attempts", ()) if each["uid"] == before]
    return {"_id": document["_id"], "queue": queue, **attempts[0]} if attempts else None


def _beside(runs: Runs, field: str, value: str | None, line: Sequence[Mapping[str, Any]]) -> Document | None:
    """The latest run with this value that is not in the line yet; none for a value of None."""
    return None if value is None else runs.beside(field, value, [segment.get("uid") for segment in line])


def teacher_levels(source: Source, runs: Sequence[ID]) -> pd.DataFrame:
    """How good the runs' teachers are, for a line beside their students' curves.

    Returns:
        Columns run, teacher (`"teacher digits"`), metric (the student's, `"test.student.accuracy"`) and value, the last
        one that was measured.

    Raises:
        UserError: no such run.
    """
    rows = []
    for document in [find_run(source, run) for run in runs]:
        uid = document.get("uid")
        for name in filter(_TEACHERS.search, runs_of(source).metrics([uid])):
            values = runs_of(source).points(uid, name).values
            metric = _TEACHERS.sub(".student.", name)
            if len(values):
                rows.append((document["_id"], _teacher(document, name), metric, float(values[-1])))
    return pd.DataFrame(rows, columns=["run", "teacher", "metric", "value"])


def _teacher(document: Document, metric: str) -> str:
    """What the teacher of a metric is called: by its name, if it is one of one."""
    teachers = mapping(document.get("config")).get("teachers") or []
    number = next(iter(_TEACHERS.findall(metric)))
    if number and int(number) < len(teachers):
        return f"teacher {teachers[int(number)]['name']}"
    return f"teacher {teachers[0]['name']}" if len(teachers) == 1 else "teachers together" if teachers else "teacher"

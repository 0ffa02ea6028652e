"""Questions to the database of runs: plain functions that take a pymongo database and return pandas frames."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.tracking.fields import conditions, flatten, resolve
from experiments.tracking.values import Mongo
from framework.errors import UserError, near

Where = Iterable[str] | Mapping[str, Any] | None
ID = int | str
ACCURACY = "result.test.student.accuracy"
_PROJECTION = dict.fromkeys(
    (
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
    ),
    1,
)
_BASE = ("id", "uid", "status", "start_time", "duration_s", "fingerprint", "fingerprint_no_seed")
_KNOWN_FROM = 500
_FALLING = re.compile(r"(loss|kl|error|distance|perplexity|duration_s)$")


def list_runs(database: Mongo, where: Where = None, sort: str | None = None, last: int | None = None) -> pd.DataFrame:
    """The runs, one a row, with dotted columns (`config.backend`, `result.test.student.accuracy`, ...).

    Args:
        database: the database of runs.
        where: conditions as texts (`"config.backend=jax"`, `"seed>=3"`) or as a mapping of fields to values.
        sort: a column, with a `-` before it for the largest first; by number otherwise.
        last: only so many of the latest runs that meet the conditions.

    Returns:
        One row a run; runs without the column that is sorted by come last.

    Raises:
        UserError: a field that no run has (with the nearest one), or no condition.
    """
    known = _known_fields(database)
    chosen = conditions(where or (), known)
    cursor = database.runs.find(chosen, _PROJECTION).sort([("start_time", -1), ("_id", -1)])
    rows = [_row(document) for document in (cursor.limit(last) if last else cursor)]
    frame = pd.DataFrame(rows[::-1])
    frame = frame.reindex(columns=[*_BASE, *sorted(column for column in frame.columns if column not in _BASE)])
    return frame if sort is None else _sorted(frame, sort, known)


def best(database: Mongo, by: str = ACCURACY, where: Where = None, count: int = 10) -> pd.DataFrame:
    """The best runs that have a result.

    Args:
        database: the database of runs.
        by: a field; losses, KL and errors count as better when lower. A `-` or `+` before it says which end is the
            best instead: `-` the largest, `+` the smallest.
        where: as in `list_runs`.
        count: how many.

    Raises:
        UserError: a field that no run has.
    """
    column = resolve(by.lstrip("+-"), _known_fields(database))
    largest = by[0] == "-" if by[0] in "+-" else not _FALLING.search(column)
    frame = list_runs(database, where, f"-{column}" if largest else column)
    return frame if column not in frame else frame.dropna(subset=[column]).head(count).reset_index(drop=True)


def find_run(database: Mongo, run: ID) -> dict[str, Any]:
    """One run's document, by Sacred's number, by its uid, or by a beginning of the uid that is unique.

    Raises:
        UserError: no run, or several, are called so.
    """
    text = str(run).strip()
    if text.isdigit() and len(text) < 19 and (found := database.runs.find_one({"_id": int(text)})) is not None:
        return found
    documents = list(database.runs.find({"uid": {"$regex": f"^{re.escape(text)}"}}).limit(4)) if text else []
    if len(documents) == 1:
        return documents[0]
    if documents:
        uids = ", ".join(str(document["uid"]) for document in documents[:3])
        raise UserError(f"run {text!r} could be {uids}{', ...' if len(documents) > 3 else ''}")
    latest = database.runs.find({}, {"uid": 1}).sort("_id", -1).limit(5)
    names = ", ".join(f"{document['_id']} ({document.get('uid', 'no uid')})" for document in latest)
    raise UserError(f"no run {text!r}; the latest are: {names or 'none, there are no runs'}")


def show(database: Mongo, run: ID) -> pd.DataFrame:
    """One run as a table of `field` and `value`; captured output and sources are left to the document itself.

    Raises:
        UserError: no such run.
    """
    document = find_run(database, run)
    flat = _row(
        {key: value for key, value in document.items() if key not in ("captured_out", "info", "spec", "journal")}
    )
    flat["metrics"] = [entry["name"] for entry in (document.get("info") or {}).get("metrics", [])]
    left_out = ("experiment.sources", "experiment.dependencies")
    told = [
        (name, value)
        for name, value in flat.items()
        if name not in left_out and not (name.startswith("meta.options.") and value in (None, False))
    ]
    return pd.DataFrame(told, columns=["field", "value"])


def compare(database: Mongo, runs: Sequence[ID]) -> pd.DataFrame:
    """What differs between the runs' configs and environments, and beside it all results.

    Args:
        database: the database of runs.
        runs: two or more IDs.

    Returns:
        Indexed by (part, field), `part` one of config, environment and result; one column a run, named by its number.

    Raises:
        UserError: no such run, or fewer than two.
    """
    if len(runs) < 2:
        raise UserError("compare takes two runs or more")
    documents = [find_run(database, run) for run in runs]
    rows: dict[tuple[str, str], list[Any]] = {}
    for part in ("config", "environment", "result"):
        flats = [flatten(_mapping(document.get(part))) for document in documents]
        for name in dict.fromkeys(name for flat in flats for name in flat):
            values = [flat.get(name) for flat in flats]
            if part == "result" or any(value != values[0] for value in values[1:]):
                rows[part, name] = values
    index = pd.MultiIndex.from_tuples(rows, names=["part", "field"])
    return pd.DataFrame(
        list(rows.values()), index=index, columns=[document["_id"] for document in documents], dtype=object
    )


def curves(database: Mongo, runs: Sequence[ID], metrics: Iterable[str] | None = None) -> pd.DataFrame:
    """Every point of the runs' metrics; each step once (the last value that was recorded for it).

    A run that went on from another one, or that another one went on from, is read as one with it.

    Args:
        database: the database of runs.
        runs: IDs.
        metrics: names, or patterns such as `train.*`; all by default.

    Returns:
        Columns run, uid, metric, step (int64), value (float64), time (UTC); by run, metric and step.

    Raises:
        UserError: no such run, or a metric that none of them has.
    """
    documents = [find_run(database, run) for run in runs]
    lines = [segments(database, document) for document in documents]
    uids = [segment.get("uid") for line in lines for segment in line]
    names = sorted(database.metric_chunks.distinct("name", {"uid": {"$in": uids}}))
    chosen = names if metrics is None else _chosen(list(metrics), names)
    frames = [
        _line(database, document, line, name)
        for document, line in zip(documents, lines, strict=True)
        for name in chosen
    ]
    empty = pd.DataFrame({name: [] for name in ("run", "uid", "metric", "step", "value", "time")})
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else empty


def segments(database: Mongo, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that are one run in several segments, in their order.

    Args:
        database: the database of runs.
        document: any of them; where several went on from one, the line is the one that this is on, and then the latest.
    """
    line = [dict(document)]
    while found := _beside(database, {"uid": line[0].get("resumed_from")}, line):
        line.insert(0, found)
    while found := _beside(database, {"resumed_from": line[-1].get("uid")}, line):
        line.append(found)
    return line


def _beside(database: Mongo, wanted: Mapping[str, Any], line: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The latest run with this value that is not in the line yet; None for a value of None."""
    known = {"uid": {"$nin": [segment.get("uid") for segment in line]}}
    if None in wanted.values():
        return None
    return database.runs.find_one({"$and": [dict(wanted), known]}, sort=[("uid", -1)])


def by_fingerprint(database: Mongo, by: Sequence[str] = (ACCURACY,), where: Where = None) -> pd.DataFrame:
    """Means and spreads over seeds: one row for each spec (less its seed) and backend, completed runs only.

    Args:
        database: the database of runs.
        by: result fields; those that no run has are an error.
        where: as in `list_runs`.

    Returns:
        Columns fingerprint_no_seed, backend, runs (count), seeds and ids (lists), then for each field its mean, std
        (over runs, n - 1) and minimum and maximum. Rows of one spec stand together, also over its backends.
    """
    known = _known_fields(database)
    columns = [resolve(name, known) for name in by]
    frame = list_runs(database, where)
    frame = frame.reindex(columns=list({*frame.columns, *columns, "config.backend", "config.seed"}))
    frame = frame[(frame["status"] == "COMPLETED") & frame["fingerprint_no_seed"].notna()]
    rows = [
        _group(key, group, columns)
        for key, group in frame.groupby(["fingerprint_no_seed", "config.backend"], dropna=False)
    ]
    statistics = [f"{column} {name}" for column in columns for name in ("mean", "std", "min", "max")]
    return pd.DataFrame(rows, columns=["fingerprint_no_seed", "backend", "runs", "seeds", "ids", *statistics])


def _group(key: Any, group: pd.DataFrame, columns: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"fingerprint_no_seed": key[0], "backend": key[1], "runs": len(group)}
    row |= {"seeds": sorted(group["config.seed"].dropna().unique().tolist(), key=str), "ids": group["id"].tolist()}
    for column in columns:
        values = pd.to_numeric(group[column], errors="coerce")
        row |= {f"{column} {name}": getattr(values, name)() for name in ("mean", "std", "min", "max")}
    return row


def _known_fields(database: Mongo) -> set[str]:
    """The fields of the latest runs (all of them where they are few)."""
    documents = database.runs.find({}, _PROJECTION).sort("_id", -1).limit(_KNOWN_FROM)
    return {name for document in documents for name in _row(document)} | set(_BASE)


def _row(document: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in document.items() if key != "_id" and not (key == "result" and value is None)}
    row = {"id": document["_id"], **flatten(given)}
    start, stop = document.get("start_time"), document.get("stop_time") or document.get("heartbeat")
    row["duration_s"] = (stop - start).total_seconds() if start and stop else None
    return row


def _sorted(frame: pd.DataFrame, sort: str, known: set[str]) -> pd.DataFrame:
    column = resolve(sort.lstrip("+-"), known)
    if column not in frame:
        return frame
    numbers = pd.to_numeric(frame[column], errors="coerce")
    keys = numbers if numbers.notna().any() else frame[column].map(lambda value: None if value is None else str(value))
    order = keys.sort_values(ascending=not sort.startswith("-"), na_position="last", kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {} if value is None else {"value": value}


def _chosen(wanted: list[str], names: list[str]) -> list[str]:
    chosen: list[str] = []
    for pattern in wanted:
        found = fnmatch.filter(names, pattern) or [name for name in names if name.endswith(f".{pattern}")]
        if not found:
            raise UserError(f"no metric {pattern!r}; {near(pattern, names) if names else 'these runs have none'}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def _line(database: Mongo, document: Mapping[str, Any], line: Sequence[Mapping[str, Any]], name: str) -> pd.DataFrame:
    """One metric of all segments as one: what a segment did past the start of a later one was done again there."""
    frames = []
    for place, segment in enumerate(line):
        frame = _series(database, segment, name)
        starts = [later["resumed_at"] for later in line[place + 1 :] if "resumed_at" in later]
        frames.append(frame[frame["step"] <= min(starts)] if starts else frame)
    whole = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    whole = whole.drop_duplicates("step", keep="last").sort_values("step", kind="stable", ignore_index=True)
    return whole.assign(run=document["_id"], uid=document.get("uid"))


def _series(database: Mongo, document: Mapping[str, Any], name: str) -> pd.DataFrame:
    query = {"uid": document.get("uid"), "name": name}
    chunks = list(database.metric_chunks.find(query, {"steps": 1, "values": 1, "times": 1}).sort("chunk", 1))
    arrays = {
        part: np.concatenate([np.asarray(chunk[part], kind) for chunk in chunks] or [np.zeros(0, kind)])
        for part, kind in (("steps", np.int64), ("values", np.float64), ("times", np.float64))
    }
    frame = pd.DataFrame({"step": arrays["steps"], "value": arrays["values"], "time": arrays["times"]})
    frame = frame.drop_duplicates("step", keep="last").sort_values("step", kind="stable")
    frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
    frame.insert(0, "metric", name)
    frame.insert(0, "uid", document.get("uid"))
    frame.insert(0, "run", document["_id"])
    return frame.reset_index(drop=True)

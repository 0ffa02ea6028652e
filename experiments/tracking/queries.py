"""Questions to the runs: plain functions that take a pymongo database, or the journals, and return pandas frames."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import pandas as pd

from experiments.tracking.differences import described, pairs, spec_fields
from experiments.tracking.fields import conditions, flatten, resolve
from experiments.tracking.source import Document, Runs, listed, runs_of
from experiments.tracking.values import Mongo
from framework.errors import UserError, near

Source = Union[Runs, "Mongo"]
Where = Iterable[str] | Mapping[str, Any] | None
ID = int | str
ACCURACY = "result.test.student.accuracy"
_BASE = ("id", "uid", "status", "start_time", "duration_s", "fingerprint", "fingerprint_no_seed")
_KNOWN_FROM = 500
_TEACHERS = re.compile(r"\.teacher(\d*)\.")
_FALLING = re.compile(r"(loss|kl|error|distance|perplexity|duration_s)$")


def list_runs(source: Source, where: Where = None, sort: str | None = None, last: int | None = None) -> pd.DataFrame:
    """The runs, one a row, with dotted columns (`config.backend`, `result.test.student.accuracy`, ...).

    Args:
        source: a database of runs, or `InJournals`.
        where: conditions as texts (`"config.backend=jax"`, `"seed>=3"`) or as a mapping of fields to values.
        sort: a column, with a `-` before it for the largest first; by number otherwise.
        last: only so many of the latest runs that meet the conditions.

    Returns:
        One row a run; runs without the column that is sorted by come last.

    Raises:
        UserError: a field that no run has (with the nearest one), or no condition.
    """
    known = known_fields(source)
    documents = runs_of(source).latest(conditions(where or (), known), last)
    frame = pd.DataFrame([row_of(document) for document in documents][::-1])
    frame = frame.reindex(columns=[*_BASE, *sorted(column for column in frame.columns if column not in _BASE)])
    return frame if sort is None else _sorted(frame, sort, known)


def best(source: Source, by: str = ACCURACY, where: Where = None, count: int = 10) -> pd.DataFrame:
    """The best runs that have a result.

    Args:
        source: a database of runs, or `InJournals`.
        by: a field; losses, KL and errors count as better when lower. A `-` or `+` before it says which end is the
            best instead: `-` the largest, `+` the smallest.
        where: as in `list_runs`.
        count: how many.

    Raises:
        UserError: a field that no run has.
    """
    column = resolve(by.lstrip("+-"), known_fields(source))
    largest = by[0] == "-" if by[0] in "+-" else not _FALLING.search(column)
    frame = list_runs(source, where, f"-{column}" if largest else column)
    return frame if column not in frame else frame.dropna(subset=[column]).head(count).reset_index(drop=True)


def find_run(source: Source, run: ID) -> dict[str, Any]:
    """One run's document: by Sacred's number or name, its uid, a beginning of the uid that is unique, or as `latest`.

    Raises:
        UserError: no run, or several, are called so.
    """
    text = str(run).strip()
    documents = runs_of(source).named(text)
    if not documents and text == "latest":
        documents = [each for last in runs_of(source).latest({}, 1) for each in runs_of(source).named(last["uid"])]
    if len(documents) == 1:
        return documents[0]
    if documents:
        uids = ", ".join(str(document["uid"]) for document in documents[:3])
        raise UserError(f"run {text!r} could be {uids}{', ...' if len(documents) > 3 else ''}")
    names = ", ".join(_called(document) for document in runs_of(source).latest({}, 5))
    raise UserError(f"no run {text!r}; the latest are: {names or 'none, there are no runs'}")


def _called(document: Document) -> str:
    uid = document.get("uid", "no uid")
    return str(uid) if document["_id"] == uid else f"{document['_id']} ({uid})"


def show(source: Source, run: ID) -> pd.DataFrame:
    """One run as a table of `field` and `value`; captured output and sources are left to the document itself.

    Raises:
        UserError: no such run.
    """
    document = find_run(source, run)
    flat = row_of(
        {key: value for key, value in document.items() if key not in ("captured_out", "info", "spec", "journal")}
    )
    flat["metrics"] = [entry["name"] for entry in (document.get("info") or {}).get("metrics", [])]
    left_out = ("experiment.sources", "experiment.dependencies", "queue.points")
    told = [
        (name, value)
        for name, value in flat.items()
        if name not in left_out and not (name.startswith("meta.options.") and value in (None, False))
    ]
    return pd.DataFrame(told, columns=["field", "value"])


def compare(source: Source, runs: Sequence[ID]) -> pd.DataFrame:
    """What differs between the runs' configs and environments, and beside it all results.

    Args:
        source: a database of runs, or `InJournals`.
        runs: two or more IDs.

    Returns:
        Indexed by (part, field), `part` one of config, environment and result; one column a run, named by its number.

    Raises:
        UserError: no such run, or fewer than two.
    """
    if len(runs) < 2:
        raise UserError("compare takes two runs or more")
    documents = [find_run(source, run) for run in runs]
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


def curves(source: Source, runs: Sequence[ID], metrics: Iterable[str] | None = None) -> pd.DataFrame:
    """Every point of the runs' metrics; each step once (the last value that was recorded for it).

    A run that went on from another one, or that another one went on from, is read as one with it.

    Args:
        source: a database of runs, or `InJournals`.
        runs: IDs.
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


def teacher_levels(source: Source, runs: Sequence[ID]) -> pd.DataFrame:
    """How good the runs' teachers are, for a line beside their students' curves.

    Args:
        source: a database of runs, or `InJournals`.
        runs: IDs.

    Returns:
        Columns run, teacher (`"teacher digits"`), metric (the student's, `"test.student.accuracy"`) and value, the last
        one that was measured.

    Raises:
        UserError: no such run.
    """
    documents = [find_run(source, run) for run in runs]
    rows = []
    for document in documents:
        uid = document.get("uid")
        for name in filter(_TEACHERS.search, runs_of(source).metrics([uid])):
            values = runs_of(source).points(uid, name).values
            metric = _TEACHERS.sub(".student.", name)
            if len(values):
                rows.append((document["_id"], _teacher(document, name), metric, float(values[-1])))
    return pd.DataFrame(rows, columns=["run", "teacher", "metric", "value"])


def _teacher(document: Document, metric: str) -> str:
    """What the teacher of a metric is called: by its name, if it is one of one."""
    teachers = _mapping(document.get("config")).get("teachers") or []
    number = next(iter(_TEACHERS.findall(metric)))
    if number and int(number) < len(teachers):
        return f"teacher {teachers[int(number)]['name']}"
    return f"teacher {teachers[0]['name']}" if len(teachers) == 1 else "teachers together" if teachers else "teacher"


def segments(source: Source, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that are one run in several segments, in their order.

    Args:
        source: a database of runs, or `InJournals`.
        document: any of them; where several went on from one, the line is the one that this is on, and then the latest.
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


def by_fingerprint(source: Source, by: Sequence[str] = (ACCURACY,), where: Where = None) -> pd.DataFrame:
    """Means and spreads over seeds: one row for each spec (less its seed) and backend, completed runs only.

    Args:
        source: a database of runs, or `InJournals`.
        by: result fields; those that no run has are an error.
        where: as in `list_runs`.

    Returns:
        Columns spec (what tells it from the others), fingerprint_no_seed, backend, runs (count), seeds and ids (lists),
        then for each field its mean, std (over seeds, n - 1), minimum and maximum. Runs that repeat a seed count as one
        there, with their mean. Rows of one spec stand together, also over its backends.
    """
    known = known_fields(source)
    columns = [resolve(name, known) for name in by]
    documents = runs_of(source).latest(conditions(where or (), known))[::-1]
    groups: dict[tuple[str, str], list[Document]] = {}
    for document in documents:
        if document.get("status") == "COMPLETED" and document.get("fingerprint_no_seed"):
            backend = str(_mapping(document.get("config")).get("backend") or "")
            groups.setdefault((document["fingerprint_no_seed"], backend), []).append(document)
    rows = [_group(key, groups[key], columns) for key in sorted(groups)]
    for row, spec in zip(rows, _specs([groups[key][0] for key in sorted(groups)]), strict=True):
        row["spec"] = spec
    statistics = [f"{column} {name}" for column in columns for name in ("mean", "std", "min", "max")]
    return pd.DataFrame(rows, columns=["spec", "fingerprint_no_seed", "backend", "runs", "seeds", "ids", *statistics])


def _specs(documents: Sequence[Document]) -> list[str]:
    """What each run's spec is called; two that look alike (a file has changed, say) by their fingerprints, too."""
    texts = described([spec_fields(_mapping(document.get("config"))) for document in documents])
    prints = [str(document["fingerprint_no_seed"]) for document in documents]
    kinds = {text: {other for same, other in zip(texts, prints, strict=True) if same == text} for text in texts}
    return [
        f"{text} (fingerprint {fingerprint[:8]})" if len(kinds[text]) > 1 else text
        for text, fingerprint in zip(texts, prints, strict=True)
    ]


def _group(key: tuple[str, str], documents: Sequence[Document], columns: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"fingerprint_no_seed": key[0], "backend": key[1], "runs": len(documents)}
    flat = [row_of(document) for document in documents]
    row |= {
        "seeds": sorted({each["config.seed"] for each in flat if each.get("config.seed") is not None}, key=str),
        "ids": [each["id"] for each in flat],
    }
    for column in columns:
        values = pd.to_numeric(pd.Series([each.get(column) for each in flat], dtype=object), errors="coerce")
        draws = values.groupby(_draws(flat)).mean()
        row |= {f"{column} mean": draws.mean(), f"{column} std": draws.std()}
        row |= {f"{column} min": values.min(), f"{column} max": values.max()}
    return row


def _draws(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which runs repeat each other: those of one seed; one that has none is alone."""
    return [repr(row.get("config.seed", f"run {row['id']}")) for row in rows]


def labels(source: Source, runs: Sequence[ID], names: Sequence[str] = (), without: str | None = None) -> dict[Any, str]:
    """What each run is called in a picture, by its id.

    Args:
        source: a database of runs, or `InJournals`.
        runs: IDs.
        names: fields that are shown; by default what differs between the configs.
        without: a field of the config that is not shown, `"seed"`.

    Returns:
        One text a run, `"teaching=funmatch, seed=1"`; with its number where the others have the same.

    Raises:
        UserError: no such run, or a field that none of them has.
    """
    documents = [find_run(source, run) for run in runs]
    rows = {document["_id"]: row_of(listed(document)) for document in documents}
    if names:
        known = {name for row in rows.values() for name in row}
        fields = [resolve(name, known) for name in names]
        texts = [pairs({name: row.get(name) for name in fields}, fields) for row in rows.values()]
    else:
        texts = called(documents, without)
    return {run: text.replace("config.", "") for run, text in zip(rows, texts, strict=True)}


def called(documents: Sequence[Document], without: str | None = None) -> list[str]:
    """What each run is called beside the others: what differs between their configs, less the field `without`."""
    return described([_varied(document, without) for document in documents], short=True)


def values(source: Source, runs: Sequence[ID], name: str) -> dict[Any, Any]:
    """One field of each run, by its id; None where a run lacks it.

    Raises:
        UserError: no such run, or a field that none of them has.
    """
    rows = {document["_id"]: row_of(document) for document in (find_run(source, run) for run in runs)}
    field = resolve(name, {each for row in rows.values() for each in row})
    return {run: row.get(field) for run, row in rows.items()}


def _varied(document: Document, without: str | None) -> dict[str, Any]:
    """What a run may differ in from others: the spec, its seed and its backend."""
    config = _mapping(document.get("config"))
    varied = spec_fields(config) | {name: config[name] for name in ("seed", "backend") if name in config}
    # Without a teacher the loss is what `teaching=labels` makes of it.
    implied = "" if config.get("teachers") else "loss."
    return {name: v for name, v in varied.items() if name != without and not (implied and name.startswith(implied))}


def known_fields(source: Source) -> set[str]:
    """The fields of the latest runs (all of them where they are few)."""
    documents = runs_of(source).latest({}, _KNOWN_FROM)
    return {name for document in documents for name in row_of(document)} | set(_BASE)


def row_of(document: Mapping[str, Any]) -> dict[str, Any]:
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


def _line(runs: Runs, document: Mapping[str, Any], line: Sequence[Mapping[str, Any]], name: str) -> pd.DataFrame:
    """One metric of all segments as one: what a segment did past the start of a later one was done again there."""
    frames = []
    for place, segment in enumerate(line):
        frame = _series(runs, segment, name)
        starts = [later["resumed_at"] for later in line[place + 1 :] if "resumed_at" in later]
        frames.append(frame[frame["step"] <= min(starts)] if starts else frame)
    whole = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    whole = whole.drop_duplicates("step", keep="last").sort_values("step", kind="stable", ignore_index=True)
    return whole.assign(run=document["_id"], uid=document.get("uid"))


def _series(runs: Runs, document: Mapping[str, Any], name: str) -> pd.DataFrame:
    found = runs.points(document.get("uid"), name)
    frame = pd.DataFrame({"step": found.steps, "value": found.values, "time": found.times})
    frame = frame.drop_duplicates("step", keep="last").sort_values("step", kind="stable")
    frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
    frame.insert(0, "metric", name)
    frame.insert(0, "uid", document.get("uid"))
    frame.insert(0, "run", document["_id"])
    return frame.reset_index(drop=True)

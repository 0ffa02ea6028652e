"""Whole runs: lists of them, one of them, and several beside each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.tracking.fields import conditions, flatten, resolve
from experiments.tracking.queries.rows import BASE, ID, Source, Where, known_fields, mapping, row_of
from experiments.tracking.source import Document, runs_of
from framework.errors import UserError

ACCURACY = "result.test.student.accuracy"
_FALLING = re.compile(r"(loss|kl|error|distance|perplexity|duration_s)$")


def list_runs(source: Source, where: Where = None, sort: str | None = None, last: int | None = None) -> pd.DataFrame:
    """The runs, one a row, with dotted columns (`config.backend`, `result.test.student.accuracy`, ...).

    Args:
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
    frame = frame.reindex(columns=[*BASE, *sorted(column for column in frame.columns if column not in BASE)])
    return frame if sort is None else _sorted(frame, sort, known)


def _sorted(frame: pd.DataFrame, sort: str, known: set[str]) -> pd.DataFrame:
    column = resolve(sort.lstrip("+-"), known)
    if column not in frame:
        return frame
    numbers = pd.to_numeric(frame[column], errors="coerce")
    keys = numbers if numbers.notna().any() else frame[column].map(lambda value: None if value is None else str(value))
    order = keys.sort_values(ascending=not sort.startswith("-"), na_position="last", kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def best(source: Source, by: str = ACCURACY, where: Where = None, count: int = 10) -> pd.DataFrame:
    """The best runs that have a result.

    Args:
        by: a field; losses, KL and errors count as better when lower. A `-` or `+` before it says which end is the
            best instead: `-` the largest, `+` the smallest.
        where: as in `list_runs`.

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
    damaged = (document.get("journal") or {}).get("damaged")
    if damaged:
        flat["journal"] = f"{damaged} damaged line{'s' if damaged > 1 else ''} left out"
    left_out = ("experiment.sources", "experiment.dependencies", "queue.points")
    told = [
        (name, value)
        for name, value in flat.items()
        if name not in left_out and not (name.startswith("meta.options.") and value in (None, False))
    ]
    return pd.DataFrame(told, columns=["field", "value"])


def compare(source: Source, runs: Sequence[ID]) -> pd.DataFrame:
    """What differs between the runs' configs and environments, and beside it all results.

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
        flats = [flatten(mapping(document.get(part))) for document in documents]
        for name in dict.fromkeys(name for flat in flats for name in flat):
            values = [flat.get(name) for flat in flats]
            if part == "result" or any(value != values[0] for value in values[1:]):
                rows[part, name] = values
    index = pd.MultiIndex.from_tuples(rows, names=["part", "field"])
    return pd.DataFrame(
        list(rows.values()), index=index, columns=[document["_id"] for document in documents], dtype=object
    )


def values(source: Source, runs: Sequence[ID], name: str) -> dict[Any, Any]:
    """One field of each run, by its id; None where a run lacks it.

    Raises:
        UserError: no such run, or a field that none of them has.
    """
    rows = {document["_id"]: row_of(document) for document in (find_run(source, run) for run in runs)}
    field = resolve(name, {each for row in rows.values() for each in row})
    return {run: row.get(field) for run, row in rows.items()}

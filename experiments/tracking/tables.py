"""Frames for people and for programs: a table in the terminal, plain text in a pipe, JSON or CSV."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime
from typing import Any

import pandas as pd

from experiments.tracking.dead import liveness
from experiments.tracking.values import plain

MAX_CELL = 120
_LISTED = (
    "id",
    "start_time",
    "status",
    "duration_s",
    "config.backend",
    "config.data.name",
    "config.teaching",
    "config.seed",
    "result.steps",
    "result.test.student.accuracy",
    "result.test.student.agreement@1",
    "result.test.student.kl",
    "result.test.teacher.accuracy",
)
_SHORT = (("result.test.", "test "), ("result.", ""), ("config.", ""))


def show_frame(frame: pd.DataFrame, form: str = "table", index: bool = False) -> None:
    """Print a frame.

    Args:
        form: `"table"`, `"json"` (a list of records; NaN is null) or `"csv"`.
        index: print the index as leading columns.
    """
    if index:
        frame = frame.reset_index()
    if form == "json":
        print(json.dumps([_json(row) for row in frame.to_dict("records")], indent=1))
    elif form == "csv":
        frame.to_csv(sys.stdout, index=False)
    elif sys.stdout.isatty():
        _rich(frame)
    else:
        _aligned(_texts(frame), [kind.kind in "if" for kind in frame.dtypes])


def usual(frame: pd.DataFrame, form: str, *wanted: str) -> pd.DataFrame:
    """A table shows a few columns under short names; JSON and CSV have all of them under their own."""
    if form != "table":
        return frame
    if "heartbeat" in frame:
        frame = frame.assign(status=[liveness(*pair) for pair in zip(frame["status"], frame["heartbeat"], strict=True)])
    return renamed(frame[[name for name in dict.fromkeys((*_LISTED, *wanted)) if name in frame]])


def grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """Groups for people: by what tells them apart, and not by a hash; uids are left to programs."""
    numbered = all(isinstance(run, int) for ids in frame["ids"] for run in ids)
    return renamed(frame.drop(columns=["fingerprint_no_seed", *([] if numbered else ["ids"])]))


def renamed(frame: pd.DataFrame) -> pd.DataFrame:
    names: dict[Any, str] = {}
    for name in frame.columns:
        prefix, short = next(((prefix, short) for prefix, short in _SHORT if name.startswith(prefix)), ("", ""))
        names[name] = short + name[len(prefix) :]
    return frame.rename(columns=names)


def _aligned(frame: pd.DataFrame, is_number: list[bool]) -> None:
    rows = [[str(name) for name in frame.columns], *frame.to_numpy().tolist()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(frame.columns))]
    for row in rows:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        )
        print("  ".join(cells).rstrip())


def _rich(frame: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold", box=None, pad_edge=False)
    for name, kind in frame.dtypes.items():
        table.add_column(escape(str(name)), justify="right" if kind.kind in "if" else "left", overflow="fold")
    for row in _texts(frame).itertuples(index=False):
        table.add_row(*(escape(text) for text in row))
    Console().print(table)


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame([[text(value) for value in row] for row in frame.itertuples(index=False)], columns=list(frame))


def text(value: Any) -> str:
    """One cell: numbers to five digits, times to the second, nothing for what is missing."""
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.5g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    words = str(value)
    return words if len(words) <= MAX_CELL else words[: MAX_CELL - 3] + "..."


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    value = None if value is pd.NaT else plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value

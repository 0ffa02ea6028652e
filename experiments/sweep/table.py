"""What a sweep found: a row a student, the best by validation first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.command.report import interval
from experiments.sweep.ledger import Entry, Ledger
from experiments.tracking.tables import show_frame
from framework.loop.saving import BEST_BY

_SHOWN = ("accuracy", "kl", "agreement@1", "loss")


def ranked(ledger: Ledger, select: str) -> list[Entry]:
    """The entries, the best first; those without a validation of their end come last, in the order of the grid."""
    name, larger = BEST_BY[select]
    found = {id(entry): _value(entry, name) for entry in ledger.entries}
    having = [entry for entry in ledger.entries if found[id(entry)] is not None]
    having.sort(key=lambda entry: found[id(entry)] or 0.0, reverse=larger)
    return having + [entry for entry in ledger.entries if found[id(entry)] is None]


def best(entries: Sequence[Entry], select: str) -> Entry | None:
    """The first of the ranked entries, where it has a validation."""
    return entries[0] if entries and _value(entries[0], BEST_BY[select][0]) is not None else None


def frame(entries: Sequence[Entry], select: str) -> pd.DataFrame:
    """A row for each entry: what was swept, the metrics of its end, its status and its run; the best has a star."""
    picked = best(entries, select)
    rows = []
    for entry in entries:
        row: dict[str, Any] = {"best": "*" if entry is picked else "", **entry.point.values}
        for split in ("validation", "test"):
            for metric in _SHOWN[:2]:
                row[f"{split} {metric}"] = _value(entry, f"{split}.student.{metric}")
        run = entry.number or (entry.runs[-1] if entry.runs else "")
        rows.append(row | {"steps": entry.result.get("steps"), "status": entry.status or "", "run": str(run)})
    table = pd.DataFrame(rows)
    return table.drop(columns=[name for name in table if " " in name and table[name].isna().all()])


def show(entries: Sequence[Entry], select: str) -> None:
    """Print the table, and what was picked."""
    print()
    show_frame(frame(entries, select))
    picked = best(entries, select)
    if picked is None:
        print(f"no student has a validation {select}, so none is picked as the best")
        return
    accuracy, count = _value(picked, "test.student.accuracy"), _value(picked, "test.examples")
    told = ""
    if accuracy is not None and count:
        low, high = interval(accuracy, count)
        told = f": test accuracy {accuracy:.1%} ({low:.1%}-{high:.1%})"
    print(f"best by validation {select}: {picked.point.label}{told}")


def records(entries: Sequence[Entry], select: str) -> list[dict[str, Any]]:
    """For other programs: what was swept and all results, a record a student."""
    picked = best(entries, select)
    return [
        {
            "point": dict(entry.point.values),
            "best": entry is picked,
            "status": entry.status,
            "run": entry.number,
            "uid": entry.runs[-1] if entry.runs else None,
            "told": entry.told or None,
            "result": dict(entry.result),
        }
        for entry in entries
    ]


def write(entries: Sequence[Entry], select: str, json_file: str | None, csv_file: str | None) -> None:
    """Write the files that were asked for; `-` is stdout."""
    if json_file is not None:
        _to(json_file, json.dumps(records(entries, select), indent=1) + "\n")
    if csv_file is not None:
        _to(csv_file, frame(entries, select).to_csv(index=False))


def _to(name: str, text: str) -> None:
    if name == "-":
        print(text, end="")
    else:
        Path(name).write_text(text, encoding="utf-8")


def _value(entry: Entry, name: str) -> float | None:
    """A metric of the end by its dotted name."""
    value: Any = entry.result
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is None else float(value)

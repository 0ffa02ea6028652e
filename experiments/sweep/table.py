"""What a sweep found: a row a student, the best by validation first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.command.report import interval
from experiments.sweep.ledger import Entry
from experiments.tracking.fields import flatten
from experiments.tracking.tables import show_frame
from framework.errors import UserError, near
from framework.loop.saving import BEST_BY


class Ranking:
    """The students of a sweep, the best first.

    Args:
        entries: in the order of the grid.
        select: what the best is chosen by, a name of `loop.saving.BEST_BY`.

    Attributes:
        entries: ranked; those without a validation of their end come last, in the order of the grid.
        best: the first of them, where it has a validation.
    """

    def __init__(self, entries: Sequence[Entry], select: str) -> None:
        self.select = select
        metric, larger = BEST_BY[select]

        def place(entry: Entry) -> tuple[bool, float]:
            value = _value(entry, metric)
            return value is None, 0.0 if value is None else -value if larger else value

        self.entries = sorted(entries, key=place)
        self.best = self.entries[0] if _value(self.entries[0], metric) is not None else None

    def frame(self) -> pd.DataFrame:
        """A row for each entry: what was swept, the metrics of its end, its status and its run; the best has a star."""
        rows = []
        for entry in self.entries:
            row: dict[str, Any] = {"best": "*" if entry is self.best else "", **entry.point.values}
            for split in ("validation", "test"):
                for metric in ("accuracy", "kl"):
                    row[f"{split} {metric}"] = _value(entry, f"{split}.student.{metric}")
            run = entry.number or (entry.runs[-1] if entry.runs else "")
            rows.append(row | {"steps": entry.result.get("steps"), "status": entry.status or "", "run": str(run)})
        table = pd.DataFrame(rows)
        return table.drop(columns=[name for name in table if " " in name and table[name].isna().all()])

    def show(self) -> None:
        """Print the table, and what was picked."""
        print()
        show_frame(self.frame())
        if self.best is None:
            print(f"no student has a validation {self.select}, so none is picked as the best")
            return
        accuracy, count = _value(self.best, "test.student.accuracy"), _value(self.best, "test.examples")
        told = ""
        if accuracy is not None and count:
            low, high = interval(accuracy, count)
            told = f": test accuracy {accuracy:.1%} ({low:.1%}-{high:.1%})"
        print(f"best by validation {self.select}: {self.best.point.label}{told}")

    def records(self) -> list[dict[str, Any]]:
        """For other programs: what was swept and all results, a record a student."""
        return [
            {
                "point": dict(entry.point.values),
                "best": entry is self.best,
                "status": entry.status,
                "run": entry.number,
                "uid": entry.runs[-1] if entry.runs else None,
                "told": entry.told or None,
                "result": dict(entry.result),
            }
            for entry in self.entries
        ]

    def write(self, json_file: str | None, csv_file: str | None) -> None:
        """Write the files that were asked for; `-` is stdout."""
        if json_file is not None:
            _to(json_file, json.dumps(self.records(), indent=1) + "\n")
        if csv_file is not None:
            _to(csv_file, self.frame().to_csv(index=False))


def selected_by(name: str | None, has_labels: bool) -> str:
    """What the best is chosen by: a name of `loop.saving.BEST_BY`; None takes accuracy where there are labels.

    Raises:
        UserError: another name.
    """
    if name is not None and name not in BEST_BY:
        raise UserError(f"--select {name!r}: {near(name, BEST_BY)}")
    return name or ("accuracy" if has_labels else "kl")


def _to(name: str, text: str) -> None:
    if name == "-":
        print(text, end="")
    else:
        Path(name).write_text(text, encoding="utf-8")


def _value(entry: Entry, name: str) -> float | None:
    value = flatten(entry.result).get(name)
    return None if value is None else float(value)

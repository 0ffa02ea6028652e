"""What parity prints: one table for each precision, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.parity.compare import Check, Result, compare, tolerances
from framework.spec import DistillSpec

Results = Mapping[tuple[str, str], Result]
Checks = dict[tuple[str, str], list[Check]]


def all_checks(results: Results, spec: DistillSpec, backends: Sequence[str], precisions: Sequence[str]) -> Checks:
    """The checks of every backend but the first, against the first, by (backend, precision)."""
    first, *others = backends
    return {
        (other, precision): compare(
            results[first, precision],
            results[other, precision],
            tolerances(precision, spec.optimizer.moment_dtype),
        )
        for precision in precisions
        for other in others
    }


def table(results: Results, checks: Checks, backends: Sequence[str], precision: str) -> str:
    """One precision's table: the first backend's values, and how far the others are from them."""
    first, *others = backends
    columns = [checks[other, precision] for other in others]
    values = shown(results[first, precision])
    rows = [[precision, f"{first} (value)", *others, "may differ by"]]
    for number, check in enumerate(columns[0]):
        cells = [_cell(column[number]) for column in columns]
        allowed = "(shown only)" if check.tolerance is None else f"{check.tolerance:.0e}" if check.tolerance else "0"
        rows.append([check.quantity, values[check.quantity], *cells, allowed])
    return aligned(rows)


def shown(result: Result) -> dict[str, str]:
    """A result's own values, by the names of the checks."""
    steps = len(result["loss"])
    values = {
        "draws": f"{result['draws'][0]}..{result['draws'][-1][-4:]}",
        "pixels": f"{result['probe0/view.student'].mean():.6f} (mean)",
        "loss at step 0": f"{float(result['probe0/loss']):.9f}",
        "gradient at step 0": f"{_norm(result, 'probe0/gradient/'):.9f}",
        "weights after 1 step": f"{_norm(result, 'state1/student/'):.9f}",
        "moments after 1 step": f"{_norm(result, 'state1/optimizer/'):.9f}",
        f"loss over {steps} steps": f"{result['loss'][-1]:.9f} (last)",
        f"weights after {steps} steps": f"{_norm(result, 'end/student/'):.9f}",
    }
    metrics = {name: float(value) for name, value in result.items() if name.startswith("evaluation/")}
    return values | {name.removeprefix("evaluation/"): f"{value:.6f}" for name, value in metrics.items()}


def document(results: Results, checks: Checks, spec: DistillSpec) -> dict[str, Any]:
    """All of it as plain values."""
    return {
        "ok": all(check.ok for column in checks.values() for check in column),
        "fingerprint": spec.fingerprint,
        "spec": spec.to_dict(),
        "backends": [
            {
                "backend": backend,
                "precision": precision,
                **json.loads(str(result["about"])),
                "draws": result["draws"].tolist(),
                "loss": result["loss"].tolist(),
                "values": shown(result),
            }
            for (backend, precision), result in results.items()
        ],
        "checks": [
            {
                "backend": backend,
                "precision": precision,
                "quantity": check.quantity,
                "difference": check.difference if np.isfinite(check.difference) else str(check.difference),
                "tolerance": check.tolerance,
                "ok": check.ok,
            }
            for (backend, precision), column in checks.items()
            for check in column
        ],
    }


def _norm(result: Result, prefix: str) -> float:
    squares = [np.sum(array.astype(np.float64) ** 2) for name, array in result.items() if name.startswith(prefix)]
    return float(np.sqrt(sum(squares)))


def _cell(check: Check) -> str:
    text = "equal" if check.difference == 0 else f"{check.difference:.1e}"
    return text if check.ok else f"{text} FAILS"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table of text, whose first row is its head: words to the left, and a line below it."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

"""The few lines at the end of a run: student against teacher, and against the same student trained on labels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.distillation.distillation import Distillation
from framework.protocols import Outcome
from framework.spec import DistillSpec

BASELINES = Path(__file__).parents[1] / "stored" / "baselines.json"
# What a run and its baseline have in common.
_ALIKE = ("data", "student", "duration", "batch_size")


def interval(accuracy: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a share.

    Args:
        accuracy: the share, in [0, 1].
        count: of how many, at least 1.

    Returns:
        Lower and upper end, in [0, 1].

    Reference: E. B. Wilson 1927.
    """
    z = 1.96  # of the normal distribution's quantiles, the one for 95 %
    centre = (accuracy + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(accuracy * (1 - accuracy) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # Rounding must not carry the ends past the share itself, or out of [0, 1].
    return min(accuracy, max(0.0, centre - half)), max(accuracy, min(1.0, centre + half))


def report(ready: Distillation, outcome: Outcome, places: Sequence[str], extra: Sequence[str] = ()) -> str:
    """The report as text, with lines on where it is logged, and other lines before these."""
    split = "test" if "test" in outcome.result else "validation" if "validation" in outcome.result else "train"
    result = outcome.result.get(split, {})
    rows = _rows(ready, result)
    seconds, pace = outcome.result["seconds"], outcome.result["steps_per_second"]
    head = f"{split} of {ready.spec.data.name}, {int(result.get('examples', 0))} images"
    # A resumed run has not done the steps of the one before.
    time = f"{seconds * pace:.0f} steps in {seconds:.0f} s, {pace * ready.spec.batch_size:.0f} images/s"
    return "\n".join(
        ["", f"{head:51s} {'accuracy (95 %)':22s}{'agreement':>11s}{'KL':>9s}", *rows, time, *extra, *places]
    )


def _rows(ready: Distillation, result: Mapping[str, Any]) -> list[str]:
    count = result.get("examples", 1)
    student = "student" if ready.spec.teachers else "trained on labels"
    rows = [_row(student, result.get("student", {}), count)]
    baseline = _baseline(ready)
    if baseline is not None:
        rows.append(_row("the same student on labels with mixup (stored)", baseline["test"]["student"], count))
        rows.append(f"    {baseline['command']}")
    if "teacher" in result:
        rows.insert(0, _row("teacher", result["teacher"], count))
    return rows


def _row(name: str, values: Mapping[str, float], count: float) -> str:
    text = f"  {name:50s}"
    if "accuracy" in values:
        low, high = interval(values["accuracy"], count)
        text += f"{values['accuracy']:6.1%} ({low:.1%}-{high:.1%})".ljust(22)
    else:
        text += " " * 22
    if "agreement@1" in values:
        text += f"{values['agreement@1']:11.1%} {values['kl']:8.4f}"
    return text.rstrip()


def _baseline(ready: Distillation) -> dict[str, Any] | None:
    """The stored result of the same student, data and duration on labels, where there is one."""
    if not ready.spec.teachers or not BASELINES.is_file():
        return None
    for entry in json.loads(BASELINES.read_text()):
        # As a spec, so that keys that came later have their defaults.
        stored = DistillSpec.from_dict(entry["spec"])
        if all(getattr(stored, part) == getattr(ready.spec, part) for part in _ALIKE):
            return dict(entry)
    return None

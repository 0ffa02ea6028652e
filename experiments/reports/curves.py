"""The curves of many runs in little room: few points, each step list once, five digits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.tracking.plots import axis_name, unit
from experiments.tracking.queries.series import joined
from experiments.tracking.source import Document, Points, Runs, points

# So many points a page has about, shared by its runs; and a curve at least and at most.
POINTS = 300_000
_FEWEST, _MOST = 40, 1000
# A run has about so many curves that are long.
_LONG = 2.5
_DIGITS = 5
# What is looked at first.
_FIRST = ("validation.student.accuracy", "validation.student.kl", "train.loss", "validation.student.agreement@1")


def count_for(runs: int) -> int:
    """How many points a curve has where a page has so many runs."""
    return int(min(_MOST, max(_FEWEST, POINTS / max(1, runs) / _LONG)))


def collected(runs: Runs, lines: Mapping[Any, Sequence[Document]]) -> dict[str, Any]:
    """All curves of some runs.

    Args:
        lines: by a run's id the segments that it consists of, in their order.

    Returns:
        `metrics`: by name what each is called and counted in; `steps`: lists of steps; `of`: by a run's place
        in `lines` its curves, [metric, steps, values] each, the first two by their number.
    """
    segments = {segment["_id"]: segment for line in lines.values() for segment in line}
    found = runs.thinned(list(segments.values()), count_for(len(segments)))
    joined = [_joined([(segment, found[segment["_id"]]) for segment in line]) for line in lines.values()]
    names = sorted({name for curves in joined for name in curves}, key=_rank)
    steps: dict[tuple[int, ...], int] = {}
    of = [
        [
            [number, steps.setdefault(tuple(curves[name].steps.tolist()), len(steps)), rounded(curves[name].values)]
            for number, name in enumerate(names)
            if name in curves
        ]
        for curves in joined
    ]
    described = [{"name": name, "title": axis_name(name), "unit": unit(name)} for name in names]
    return {"metrics": described, "steps": [list(each) for each in steps], "of": of}


def _rank(name: str) -> tuple[int, bool, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), ".teacher" in name, name)


def _joined(line: Sequence[tuple[Document, Mapping[str, Points]]]) -> dict[str, Points]:
    names = {name for _, curves in line for name in curves}
    nothing = points([], [], [])
    return {name: joined([(segment, curves.get(name, nothing)) for segment, curves in line]) for name in names}


def rounded(values: Any) -> list[float | None]:
    """To five significant digits; None for what is no finite number.

    Example:
        >>> rounded([0.123456789, 1234567.8, float("nan"), 0.0])
        [0.12346, 1234600.0, None, 0.0]
    """
    array = np.asarray(values, np.float64)
    finite = np.isfinite(array) & (array != 0)
    places = _DIGITS - 1 - np.floor(np.log10(np.abs(array, where=finite, out=np.ones_like(array))))
    factor = 10.0 ** np.abs(places)
    short = np.where(places >= 0, np.round(array * factor) / factor, np.round(array / factor) * factor)
    return [value if math.isfinite(value) else None for value in np.where(finite, short, array).tolist()]

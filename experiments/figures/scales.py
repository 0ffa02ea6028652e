"""Axes: what stands beside them, logarithms, and what part is enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from experiments.figures.catalog import Panel
from experiments.tracking.plots import axis_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_ALONG = {"epoch": "epochs", "length": "epochs of the whole run", "key": "temperature"}
# Of what lies between the lowest end and the highest: so much more is shown below the one and above the other.
_BELOW, _ABOVE = 1.0, 0.15
# Where the largest is less than so many times the smallest, these multiples of the powers of ten are named.
_SUBS = (
    (4.0, (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)),
    (300.0, (1.0, 2.0, 5.0)),
    (float("inf"), (1.0,)),
)


def set_up(axes: Axes, panel: Panel, metric: str, means: pd.DataFrame, teachers: Sequence[float]) -> None:
    """Give a panel its axes, once everything is drawn.

    Args:
        axes: of the panel.
        panel: what it shows.
        metric: its metric's full name.
        means: of `summary.over_seeds`, of this metric.
        teachers: what the teachers reach.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_title(f"{axis_name(metric)}{', enlarged' if panel.enlarged else ''}", loc="left")
    axes.set_xlabel(_ALONG[panel.over])
    axes.set_xscale("log")
    _logarithmic(axes.xaxis, *axes.get_xlim())
    if panel.over == "key":
        axes.xaxis.set_major_locator(FixedLocator(sorted(means["key"].dropna().unique())))
        axes.xaxis.set_minor_locator(NullLocator())
    if panel.enlarged:
        _enlarge(axes, means, teachers)
    if panel.log:
        axes.set_yscale("log")
        _logarithmic(axes.yaxis, *axes.get_ylim())
    elif metric.endswith(("accuracy", "@1")):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{100 * value:.6g}%"))


def _logarithmic(axis: Axis, least: float, most: float) -> None:
    """Powers of ten, and more between those where there are few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    range_ = most / max(least, 1e-300)
    axis.set_major_locator(LogLocator(subs=next(subs for limit, subs in _SUBS if range_ < limit)))
    axis.set_major_formatter(FuncFormatter(lambda value, place: short(value)))
    axis.set_minor_formatter(NullFormatter())


def _enlarge(axes: Axes, means: pd.DataFrame, teachers: Sequence[float]) -> None:
    """Show the part where the schedules end."""
    ends = means.sort_values("step").groupby(["curve", "length"]).tail(1)
    if not len(ends):
        return
    low, high = ends["low"].min(), max([ends["high"].max(), *teachers])
    spread = max(high - low, 1e-3)
    axes.set_ylim(max(0.0, low - _BELOW * spread), high + _ABOVE * spread)


def short(value: float) -> str:
    """A number on an axis.

    >>> short(1), short(1000), short(1e6), short(0.1), short(5e4)
    ('1', '1k', '1M', '0.1', '50k')
    """
    for power, letter in ((1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:g}{letter}"
    return f"{value:g}"

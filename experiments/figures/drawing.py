"""Draws a figure from its numbers alone: PNG, SVG and PDF for a light page, PNG and SVG for a dark one."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.figures import scales, style, summary
from experiments.figures.catalog import FIGURES, TAUGHT, Figure, Panel
from experiments.figures.selection import epochs
from experiments.figures.style import Look, Theme
from framework.errors import UserError, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[str, float]
# For each page.
FORMATS: Mapping[Theme, tuple[str, ...]] = {style.LIGHT: ("png", "svg", "pdf"), style.DARK: ("png", "svg")}


def draw(frame: pd.DataFrame, about: Mapping[str, str], stem: Path) -> list[Path]:
    """Draw it for both pages.

    Args:
        frame: as `table.table` or `table.read` gives it.
        about: `figure` (its name), `title`, `caption` and `split`.
        stem: the files' path without their endings.

    Returns:
        The files.

    Raises:
        UserError: a file can't be written, or there is nothing to draw.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    figure, means = FIGURES[about["figure"]], summary.over_seeds(frame)
    if not len(means):
        raise UserError("nothing to draw: no run has a point of it yet")
    made = []
    for theme, formats in FORMATS.items():
        with matplotlib.rc_context(theme.settings):
            canvas = Canvas(layout="constrained")
            _compose(canvas, figure, frame, means, about, theme)
            # The layout is the same in all formats.
            canvas.draw_without_rendering()
            canvas.set_layout_engine("none")
            for ending in formats:
                path = stem.with_name(f"{stem.name}{theme.name}.{ending}")
                # Without the time of day, the same numbers are the same file.
                dated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending, {})
                canvas.savefig(path, dpi=160, metadata=dated)
                made.append(path)
    return made


def _compose(
    canvas: Any, figure: Figure, frame: pd.DataFrame, means: pd.DataFrame, about: Mapping[str, str], theme: Theme
) -> None:
    curves = curves_of(means)
    found = style.looks(curves, bool(means["key"].notna().any()), theme)
    count = len(figure.panels)
    columns = count if count < 4 else 2
    rows = -(-count // columns)
    width, legend = 3.7 * max(2, columns), -(-(len(curves) + 1) // 2)
    caption = textwrap.wrap(about["caption"], int(16.5 * width))
    heights = [0.3 + 3.0 * rows + 0.19 * legend, 0.13 * len(caption) + 0.12]
    canvas.set_size_inches(width, sum(heights))
    upper, lower = canvas.subfigures(2, 1, height_ratios=heights)
    axes = upper.subplots(rows, columns, squeeze=False).ravel()
    for panel, place in zip(figure.panels, axes, strict=True):
        metric = panel.metric.format(split=about["split"])
        reached = summary.teachers(frame, metric)
        own = means[means["metric"] == metric]
        _panel(place, panel, own, found, theme)
        for value in reached:
            place.axhline(value, color=theme.teacher, linestyle=(0, (6, 2)), linewidth=1.4, label="teacher")
        scales.set_up(place, panel, metric, own, reached)
    handles = {
        label: handle for place in axes for handle, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    upper.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, handlelength=3.2)
    upper.suptitle(about["title"], fontsize=11, x=0.01, ha="left")
    lower.text(0.01, 0.95, "\n".join(caption), fontsize=7.5, va="top", ha="left")


def curves_of(means: pd.DataFrame) -> list[Curve]:
    """The curves in the order of the legend: by their key, their teaching, their name's first place, their length."""
    first = means.drop_duplicates(["curve", "length"])
    places = {name: place for place, name in enumerate([*TAUGHT, *first["curve"]][::-1])}
    ordered = sorted(
        first.itertuples(), key=lambda row: (row.key if row.key == row.key else 0.0, -places[row.curve], row.length)
    )
    return [(row.curve, row.length) for row in ordered]


def _panel(axes: Axes, panel: Panel, means: pd.DataFrame, found: Mapping[Curve, Look], theme: Theme) -> None:
    if panel.over == "epoch":
        several = len({length for _, length in found}) > 1
        for curve, look in found.items():
            _course(axes, means[(means["curve"] == curve[0]) & (means["length"] == curve[1])], look, several)
        return
    ends = means[means["finished"] == 1]
    if panel.over == "key":
        _ends(axes, ends.sort_values("key"), "key", Look(theme.text, "-", "o"), None)
        return
    names = dict.fromkeys((name, 0.0) for name, _ in found)
    for (name, _), look in style.looks(list(names), False, theme).items():
        _ends(axes, ends[ends["curve"] == name].sort_values("length"), "length", look, name)


def _course(axes: Axes, points: pd.DataFrame, look: Look, several: bool) -> None:
    """A curve over the epochs, with a full mark where a schedule has ended and an open one where it goes on."""
    if not len(points):
        return
    last = points.iloc[-1]
    length = f"{epochs(last['length'])} epochs" if several or not last["curve"] else ""
    name = ", ".join(filter(None, (last["curve"], length)))
    ended = "" if last["finished"] else ", not finished"
    label = f"{name} ({seeds(int(last['seeds']))}{ended})"
    axes.fill_between(points["epoch"], points["low"], points["high"], color=look.colour, alpha=0.25, linewidth=0)
    axes.plot(
        points["epoch"],
        points["mean"],
        linestyle=look.line,
        color=look.colour,
        linewidth=1.5,
        marker=look.mark,
        markevery=[len(points) - 1],
        markersize=6,
        markerfacecolor=look.colour if last["finished"] else axes.get_facecolor(),
        label=label,
    )


def _ends(axes: Axes, points: pd.DataFrame, over: str, look: Look, name: str | None) -> None:
    """Ends of finished runs over something; the bars go from the smallest to the largest of the seeds."""
    if not len(points):
        return
    # The mean of equal numbers may be rounded to one beside them.
    low, high = ((points[end] - points["mean"]).abs() for end in ("low", "high"))
    axes.errorbar(
        points[over],
        points["mean"],
        yerr=[low, high],
        linestyle=look.line,
        color=look.colour,
        linewidth=1.5,
        marker=look.mark,
        markersize=5,
        capsize=3,
        elinewidth=1,
        label=name and f"{name} ({seeds(int(points['seeds'].min()), int(points['seeds'].max()))})",
    )


def seeds(least: int, most: int | None = None) -> str:
    """How many, in words.

    >>> seeds(1), seeds(3), seeds(2, 3)
    ('1 seed', '3 seeds', '2-3 seeds')
    """
    if most is not None and most != least:
        return f"{least}-{most} seeds"
    return some(least, "seed", "seeds")

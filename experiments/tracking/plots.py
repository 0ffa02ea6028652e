"""Curves of runs: beside each other in a table, or drawn."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from framework.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn where nothing else is asked for: more panels can't be read.
_USUAL = ("validation.student.accuracy", "validation.student.kl", "train.loss")
_WORDS = {
    "train": "training",
    "kl": "KL",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "examples_per_s": "images per second",
}
# What a metric is counted in; the training's loss is in whatever its distance is in.
_UNITS = {"accuracy": "%", "agreement": "%", "kl": "nats", "loss": "nats"}
# Points that are fewer get a mark each.
_FEW_POINTS = 30
_LABEL_WIDTH = 72
# Colours that colour-blind readers tell apart, and that stand out on white (Okabe and Ito 2008, less their yellow).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_STYLES = ("-", "--", ":", "-.")
# A line of the legend, in inches.
_LINE = 0.17
# So many labels stand above the panels, more of them beside.
_FEW_LABELS = 8
# Letters stay letters in a .pdf file and a .svg file, as publishers want them.
_FONTS = {"pdf.fonttype": 42, "svg.fonttype": "none"}


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """What `queries.curves` returned, one row a step, one column a metric, or a metric of each of several runs."""
    one = frame["run"].nunique() == 1
    table = frame.pivot(index="step", columns=["metric"] if one else ["metric", "run"], values="value")
    if not one:
        table.columns = [f"{metric} [{run}]" for metric, run in table.columns]
    return table


def usual(frame: pd.DataFrame) -> pd.DataFrame:
    """The curves of few metrics: the validation's and the loss, or else the first ones."""
    names = list(frame["metric"].unique())
    return frame[frame["metric"].isin([name for name in _USUAL if name in names] or names[: len(_USUAL)])]


def labelled(frame: pd.DataFrame, labels: Mapping[Any, str]) -> pd.DataFrame:
    """What `queries.curves` returned, the runs under other names; those of one name keep their number beside it."""
    names = list(labels.values())
    full = {run: f"{name} (run {run})".strip() if names.count(name) > 1 else name for run, name in labels.items()}
    return frame.assign(run=frame["run"].map(full))


def averaged(frame: pd.DataFrame, labels: Mapping[Any, str], draws: Mapping[Any, Any] | None = None) -> pd.DataFrame:
    """Means over the runs of one name, at the steps that all of them have.

    Args:
        frame: what `queries.curves` returned.
        labels: by run.
        draws: by run what the means are over, a seed: runs that repeat one count as one, with their mean. None takes
            each run for itself.

    Returns:
        Columns run (the name, with how many there are), metric, step, value (the mean), low and high (the extremes).
    """
    draws = {run: run if draws is None else repr(draws[run]) for run in labels}
    repeats = Counter((labels[run], draws[run]) for run in labels)
    frame = frame.assign(run=frame["run"].map(labels), draw=frame["run"].map(draws))
    each = frame.groupby(["run", "draw", "metric", "step"], sort=False)["value"].agg(["mean", "size"]).reset_index()
    complete = [
        size == repeats[run, draw] for run, draw, size in zip(each["run"], each["draw"], each["size"], strict=True)
    ]
    each = each[complete]
    count = Counter(name for name, _ in repeats)
    means = each.groupby(["run", "metric", "step"], sort=False)["mean"].agg(["mean", "min", "max", "size"])
    means = means.rename(columns={"mean": "value", "min": "low", "max": "high"}).reset_index()
    means = means[means["size"] == means["run"].map(count)].drop(columns="size")
    return means.assign(run=[f"{name} (mean of {count[name]})".strip() for name in means["run"]])


def plot(frame: pd.DataFrame, path: Path, log: str = "", levels: pd.DataFrame | None = None) -> None:
    """Draw curves, one panel a metric, one line a run; the extremes of means as bands, a teacher as a level line.

    Args:
        frame: what `queries.curves`, `labelled` or `averaged` returned.
        path: the picture; its suffix says in which format (.png, .pdf, .svg).
        log: the axes with a logarithmic scale: `""`, `"x"`, `"y"` or `"xy"`. What is not positive has no place there.
        levels: what `queries.teacher_levels` returned; those of a student's metric are drawn with it.

    Raises:
        UserError: matplotlib can't write this format, or there is nothing to draw.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    frame = _drawable(frame, log)
    names, runs = list(frame["metric"].unique()), list(dict.fromkeys(frame["run"]))
    height = _LINE * sum(len(textwrap.wrap(str(run), _LABEL_WIDTH)) for run in runs)
    size = 2.5 * len(names) + height if len(runs) <= _FEW_LABELS else max(2.5 * len(names), 0.6 + height)
    figure = Figure(figsize=(7.5, size), layout="constrained")
    panels = figure.subplots(len(names), squeeze=False, sharex=True)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        for place, run in enumerate(runs):
            points = frame[(frame["metric"] == name) & (frame["run"] == run)]
            colour, style = _COLOURS[place % len(_COLOURS)], _STYLES[place // len(_COLOURS) % len(_STYLES)]
            _line(panel, points, str(run), colour, style)
        _teachers(panel, name, levels)
        _axes(panel, name, log)
    panels[-1].set_xlabel("updates of the student (steps)")
    _legend(figure, panels)
    try:
        with rc_context(_FONTS):
            figure.savefig(path, dpi=200)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _drawable(frame: pd.DataFrame, log: str) -> pd.DataFrame:
    if not len(frame):
        raise UserError("these runs have no metrics to draw")
    for axis, column in (("x", "step"), ("y", "value")):
        frame = frame[frame[column] > 0] if axis in log else frame
    if not len(frame):
        raise UserError(f"--log {log}: nothing that these runs have is above 0")
    return frame


def _line(panel: Axes, points: pd.DataFrame, label: str, colour: str, style: str) -> None:
    marker = "o" if 0 < len(points) <= _FEW_POINTS else None
    looks: dict[str, Any] = {"color": colour, "linewidth": 1.2, "marker": marker, "markersize": 3}
    if len(points):
        panel.plot(points["step"], points["value"], style, label=textwrap.fill(label, _LABEL_WIDTH), **looks)
    if "low" in points:
        panel.fill_between(points["step"], points["low"], points["high"], color=colour, alpha=0.15, linewidth=0)


def _teachers(panel: Axes, metric: str, levels: pd.DataFrame | None) -> None:
    """The teachers of a student's metric: grey lines, each with its name and value on it."""
    if levels is None or not len(levels):
        return
    for level in levels[levels["metric"] == metric].drop_duplicates(["teacher", "value"]).itertuples():
        shown = f"{level.value:.1%}" if unit(metric) == "%" else f"{level.value:.3g}"
        panel.axhline(level.value, color="0.35", linewidth=1.0, linestyle=(0, (6, 3)))
        panel.annotate(
            f"{level.teacher}: {shown}",
            (1.0, level.value),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize="small",
            color="0.35",
        )
        panel.margins(y=0.12)


def _axes(panel: Axes, metric: str, log: str) -> None:
    counted = unit(metric)
    panel.set_ylabel(f"{axis_name(metric)} ({counted})" if counted else axis_name(metric))
    panel.grid(alpha=0.3)
    if "x" in log:
        panel.set_xscale("log")
    if "y" in log:
        panel.set_yscale("log")
    _ticks(panel, 100.0 if counted == "%" else 1.0)


def _ticks(panel: Axes, factor: float) -> None:
    """Plain numbers at the ticks of the y axis, times a factor; within a decade a logarithmic one has even ticks."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullLocator

    plain = FuncFormatter(lambda value, _: f"{factor * value:g}")
    panel.yaxis.set_major_formatter(plain)
    if panel.get_yscale() == "log":
        low, high = panel.get_ylim()
        narrow = high / low < 10
        panel.yaxis.set_major_locator(AutoLocator() if narrow else LogLocator())
        panel.yaxis.set_minor_locator(NullLocator() if narrow else LogLocator(subs=(2, 5)))
        panel.yaxis.set_minor_formatter(plain)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One that every panel shares, outside of them: inside it would cover curves. None for a single curve."""
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    lines = {label: line for label, line in lines.items() if not str(label).startswith("_")}
    above = len(lines) <= _FEW_LABELS
    columns = 2 if above and len(lines) > 1 and max(map(len, map(str, lines))) <= _LABEL_WIDTH // 2 else 1
    place = "outside upper center" if above else "outside right upper"
    figure.legend(lines.values(), lines.keys(), loc=place, fontsize="small", frameon=False, ncols=columns)


def unit(metric: str) -> str:
    """What a metric is counted in, `""` where nothing is known.

    Example:
        >>> unit("test.student.agreement@5"), unit("train.loss"), unit("test.student.loss")
        ('%', '', 'nats')
    """
    first, _, last = metric.rpartition(".")
    return "" if metric == "train.loss" or not first else _UNITS.get(last.partition("@")[0], "")


def axis_name(metric: str) -> str:
    """A metric in words.

    Example:
        >>> axis_name("validation.student.kl"), axis_name("test.teacher.agreement@5"), axis_name("train.lr")
        ('validation KL', 'test agreement (top 5) of the teacher', 'training learning rate')
    """
    *path, last = metric.split(".")
    name, _, top = last.partition("@")
    words = [_WORDS.get(part, part) for part in path if part != "student" and not part.startswith("teacher")]
    words += [_WORDS.get(name, name.replace("_", " ")), *([f"(top {top})"] if top else [])]
    teachers = [part.replace("teacher", "teacher ").strip() for part in path if part.startswith("teacher")]
    return " ".join([*words, *(f"of the {each}" for each in teachers)])

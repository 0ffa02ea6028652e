"""Curves of runs: beside each other in a table, or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from framework.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Drawn where nothing else is asked for: more panels can't be read.
_USUAL = ("validation.student.accuracy", "validation.student.kl", "train.loss")
_WORDS = {
    "train": "training",
    "kl": "KL",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "examples_per_s": "images per second",
}
# Points that are fewer get a mark each.
_FEW_POINTS = 30
_MAX_LABEL = 70
_STYLES = ("-", "--", ":", "-.")


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a step, one column a metric, or a metric of each of several runs.

    Args:
        frame: what `queries.curves` returned.
    """
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
    """The runs under other names; those of one name keep their number beside it.

    Args:
        frame: what `queries.curves` returned.
        labels: by run.
    """
    names = list(labels.values())
    full = {run: f"{name} (run {run})".strip() if names.count(name) > 1 else name for run, name in labels.items()}
    return frame.assign(run=frame["run"].map(full))


def averaged(frame: pd.DataFrame, labels: Mapping[Any, str]) -> pd.DataFrame:
    """Means over the runs of one name, at the steps that all of them have.

    Args:
        frame: what `queries.curves` returned.
        labels: by run.

    Returns:
        Columns run (the name, with how many there are), metric, step, value (the mean), low and high (the extremes).
    """
    names = list(labels.values())
    frame = frame.assign(run=frame["run"].map(labels))
    means = frame.groupby(["run", "metric", "step"], sort=False)["value"].agg(["mean", "min", "max", "size"])
    means = means.rename(columns={"mean": "value", "min": "low", "max": "high"}).reset_index()
    means = means[means["size"] == means["run"].map(names.count)].drop(columns="size")
    return means.assign(run=[f"{name} (mean of {names.count(name)})".strip() for name in means["run"]])


def plot(frame: pd.DataFrame, path: Path) -> None:
    """Draw curves, one panel a metric, one line a run; the extremes of means as bands.

    Args:
        frame: what `queries.curves`, `labelled` or `averaged` returned.
        path: the picture; its suffix says in which format.

    Raises:
        UserError: matplotlib isn't installed, or can't write this format.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('--plot needs matplotlib: python -m pip install -e ".[plots]"') from None
    if not len(frame):
        raise UserError("these runs have no metrics to draw")
    names, runs = list(frame["metric"].unique()), list(dict.fromkeys(frame["run"]))
    colours = [colormaps["tab10"](place % 10) for place in range(len(runs))]
    figure = Figure(figsize=(9, max(2.8 * len(names), 0.6 + 0.17 * len(runs))), layout="constrained")
    panels = figure.subplots(len(names), squeeze=False, sharex=True)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        for place, run in enumerate(runs):
            points = frame[(frame["metric"] == name) & (frame["run"] == run)]
            _line(panel, points, str(run), colours[place], _STYLES[place // 10 % len(_STYLES)])
        panel.set_ylabel(axis_name(name))
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("updates of the student")
    # One that every panel shares, beside them: inside it would cover curves.
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside right upper", fontsize="small", frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _line(panel: Axes, points: pd.DataFrame, label: str, colour: Any, style: str) -> None:
    marker = "o" if 0 < len(points) <= _FEW_POINTS else None
    label = label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 3]}..."
    if len(points):
        panel.plot(
            points["step"],
            points["value"],
            style,
            label=label,
            color=colour,
            linewidth=1.2,
            marker=marker,
            markersize=3,
        )
    if "low" in points:
        panel.fill_between(points["step"], points["low"], points["high"], color=colour, alpha=0.15, linewidth=0)


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

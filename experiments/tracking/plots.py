"""Curves of runs: beside each other in a table, or drawn."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from framework.errors import UserError


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


def plot(frame: pd.DataFrame, path: Path) -> None:
    """Draw curves, one panel a metric, one line a run.

    Args:
        frame: what `queries.curves` returned.
        path: the picture; its suffix says in which format.

    Raises:
        UserError: matplotlib isn't installed, or can't write this format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('--plot needs matplotlib: python -m pip install -e ".[plots]"') from None
    if not len(frame):
        raise UserError("these runs have no metrics to draw")
    names = list(frame["metric"].unique())
    figure = Figure(figsize=(7, 2.6 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), squeeze=False, sharex=True)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        for run, points in frame[frame["metric"] == name].groupby("run"):
            panel.plot(points["step"], points["value"], label=str(run), linewidth=1)
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    panels[0].legend(title="run")
    panels[-1].set_xlabel("step")
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None

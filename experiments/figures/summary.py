"""Means and extremes over seeds, from the numbers behind a figure."""

from __future__ import annotations

import pandas as pd

from experiments.figures.table import TEACHER

_CURVE = ["curve", "length", "metric"]


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean, smallest and largest value of each curve at the steps that all its seeds have.

    Args:
        frame: with the columns of `table.COLUMNS`.

    Returns:
        Columns curve, key, length, metric, step, epoch, mean, low, high, seeds (how many) and finished (whether the
        point is the end of finished schedules); without the teacher.
    """
    own = frame[frame["curve"] != TEACHER]
    seeds = own.groupby(_CURVE)["seed"].nunique().rename("seeds").reset_index()
    means = own.groupby([*_CURVE, "step"], sort=False).agg(
        key=("key", "first"),
        epoch=("epoch", "first"),
        mean=("value", "mean"),
        low=("value", "min"),
        high=("value", "max"),
        count=("seed", "nunique"),
        finished=("finished", "min"),
    )
    joined = means.reset_index().merge(seeds, on=_CURVE)
    kept = joined[joined["count"] == joined["seeds"]].drop(columns="count")
    return kept.sort_values([*_CURVE, "step"], kind="stable", ignore_index=True)


def teachers(frame: pd.DataFrame, metric: str) -> list[float]:
    """What the teachers reach, each different value once."""
    own = frame[(frame["curve"] == TEACHER) & (frame["metric"] == metric)]
    return sorted(own["value"].unique().tolist())

"""From runs to the numbers behind a figure, one row a point; and those numbers in a CSV file, and back."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.figures.catalog import Figure
from experiments.figures.selection import Run
from experiments.tracking import queries
from experiments.tracking.source import Runs
from framework.errors import UserError

COLUMNS = ("curve", "key", "length", "seed", "run", "state", "finished", "metric", "step", "epoch", "value")
TEACHER = "teacher"
# A loss is logged in hundreds of steps: it is drawn as the means over so many parts of the (logarithmic) axis.
PARTS = 60
_LOGGED = "train.loss"


def table(runs: Runs, chosen: Sequence[Run], figure: Figure, split: str) -> tuple[pd.DataFrame, str, list[str]]:
    """The points of all panels.

    Args:
        runs: where they are read from.
        chosen: which.
        figure: what is drawn.
        split: what `{split}` stands for; where no run was measured on it along the way, validation data are taken.

    Returns:
        The columns are `COLUMNS`: `length` is the run's in epochs, `finished` says whether the point is the end of a
        schedule that was run to its end. A teacher has one row a metric, at step 0, with the curve's name `teacher`.
        Then the split that was taken, and lines on what is missing.
    """
    frame = _table(runs, chosen, figure, split)
    following = [panel for panel in figure.panels if panel.over == "epoch" and "{split}" in panel.metric]
    courses = [panel.metric.format(split=split) for panel in following]
    between = frame[frame["metric"].isin(courses) & (frame["finished"] == 0) & (frame["step"] > 0)]
    left = len(chosen) - between["run"].nunique()
    if not courses or not left or split == "validation":
        return frame, split, []
    if left < len(chosen):
        told = f"{left} of {len(chosen)} runs were measured on {split} data at their ends alone (evaluation.splits)"
        return frame, split, [told]
    told = f"no run was measured on {split} data along the way (evaluation.splits): drawn on validation data"
    return _table(runs, chosen, figure, "validation"), "validation", [told]


def _table(runs: Runs, chosen: Sequence[Run], figure: Figure, split: str) -> pd.DataFrame:
    from tqdm import tqdm

    metrics = {panel.metric.format(split=split): False for panel in figure.panels}
    metrics |= {panel.metric.format(split=split): True for panel in figure.panels if panel.over == "epoch"}
    # On a terminal, where it takes longer.
    shown = tqdm(chosen, "reading runs", disable=None, leave=False, delay=2)
    made = [frame for run in shown for frame in _points(runs, run, metrics) if len(frame)]
    whole = pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=list(COLUMNS))
    names = ["curve", "length", "seed", "metric", "step", "value"]
    return whole[list(COLUMNS)].drop_duplicates(names, ignore_index=True)


def _points(runs: Runs, run: Run, metrics: Mapping[str, bool]) -> Iterator[pd.DataFrame]:
    """A run's metrics, the course of those where that is said and the ends of the others; and the teacher's."""
    known = set(runs.metrics([each.get("uid") for each in queries.segments(runs, run.document)]))
    teachers = {name: name.replace(".student.", ".teacher.") for name in metrics if name.endswith(".student.accuracy")}
    names = sorted({*metrics, *teachers.values()} & known)
    found = queries.curves(runs, [run.uid], names) if names else pd.DataFrame({"metric": [], "step": []})
    for name in metrics:
        points = found[(found["metric"] == name) & (found["step"] > 0)]
        points = points if metrics[name] else points[points["step"] == run.total_steps]
        points = thinned(points, run.total_steps) if name == _LOGGED else points
        yield _rows(run, name, points)
    for name, teacher in teachers.items():
        rows = _rows(run, name, found[found["metric"] == teacher].tail(1).assign(step=0))
        yield rows.assign(curve=TEACHER, key=np.nan, length=np.nan, seed="", run="", state="")


def _rows(run: Run, metric: str, found: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "curve": run.curve,
            "key": np.nan if run.key is None else run.key,
            "length": run.length,
            "seed": run.seed,
            "run": run.uid,
            "state": run.document.get("status"),
            "finished": ((found["step"] == run.total_steps) & run.is_finished).astype(int).to_numpy(),
            "metric": metric,
            "step": found["step"].to_numpy(),
            "epoch": [run.epoch(int(step)) for step in found["step"]],
            "value": found["value"].to_numpy(),
        }
    )


def thinned(frame: pd.DataFrame, total: int, parts: int = PARTS) -> pd.DataFrame:
    """Means over the parts of a logarithmic axis, each at its last step; the last step of all stays the last.

    Args:
        frame: `step` (1 or more, ascending) and `value`.
        total: steps of the whole run.
        parts: how many, at most.

    Example:
        >>> thinned(pd.DataFrame({"step": [1, 99, 100], "value": [3.0, 1.0, 2.0]}), 100, 2).to_numpy().tolist()
        [[1.0, 3.0], [100.0, 1.5]]
    """
    if len(frame) <= parts:
        return frame
    # Rounded: the logarithm of 10 is a hair more than a third of that of 1000.
    place = np.ceil((parts * np.log(frame["step"]) / np.log(max(2, total))).round(9)).clip(upper=parts)
    grouped = frame.groupby(place.to_numpy(), sort=True)
    return grouped.agg(step=("step", "last"), value=("value", "mean")).reset_index(drop=True)


def write(frame: pd.DataFrame, path: Path, about: Mapping[str, str]) -> None:
    """Write the numbers; what is said about them stands in lines `# name: text` above."""
    head = "".join(f"# {name}: {' '.join(text.split())}\n" for name, text in about.items())
    path.write_text(head + frame.to_csv(index=False, float_format="%.9g"), encoding="utf-8")


def read(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The numbers of a file that `write` wrote, and what is said about them.

    Raises:
        UserError: there is no such file, or it is another one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or 'no text file'}") from None
    head = [line[2:].partition(": ") for line in lines if line.startswith("# ")]
    body = "".join(line for line in lines if not line.startswith("#"))
    try:
        frame = pd.read_csv(io.StringIO(body), dtype={"seed": str, "run": str, "curve": str, "state": str})
    except (ValueError, pd.errors.ParserError):
        frame = pd.DataFrame()
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise UserError(f"{path}: no table of a figure, it lacks the columns {', '.join(missing[:4])}")
    texts = {"curve": "", "seed": "", "run": "", "state": ""}
    return frame.fillna(texts), {name.strip(): text.strip() for name, _, text in head}

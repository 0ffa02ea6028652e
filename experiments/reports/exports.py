"""Metrics for other tools: CSV files, TensorBoard's event files, Weights & Biases' offline runs."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.tracking import queries
from experiments.tracking.fields import flatten
from experiments.tracking.source import Document, Runs
from framework.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "patient-teachers"
_UNUSUAL = re.compile(r"[^\w.-]", re.ASCII)


@dataclass(frozen=True)
class Exported:
    """One run: `name` is what a file of it may be called, `label` what tells it from the others.

    The document is one of `Runs.latest`, `points` are what `queries.curves` returns, all segments of the run as one.
    """

    name: str
    label: str
    document: Document
    points: pd.DataFrame

    def config(self) -> dict[str, Any]:
        """Its options under flat names."""
        return flatten(self.document.get("config") or {})

    def result(self) -> dict[str, float]:
        """The numbers of its end under flat names."""
        flat = flatten(self.document.get("result") or {})
        return {name: value for name, value in flat.items() if isinstance(value, int | float)}


def export(runs: Runs, documents: Sequence[Document], to: str, folder: Path) -> list[Document]:
    """Write some runs for another tool.

    Args:
        documents: which; of a run in several segments the last one stands for all.
        to: a key of `WRITERS`.
        folder: that is made, or is empty.

    Returns:
        The runs that were written.

    Raises:
        UserError: the tool's library isn't installed, or the folder can't be written or has something in it.
    """
    _check_library(to)
    earlier = {segment["_id"] for each in documents for segment in _before(runs, each)}
    chosen = [each for each in documents if each["_id"] not in earlier]
    _make(folder)
    WRITERS[to](folder, _each(runs, chosen))
    return chosen


def _before(runs: Runs, document: Document) -> list[Document]:
    """The segments of a run before this one."""
    line = queries.segments(runs, document) if document.get("resumed_from") else [document]
    return line[: [each["_id"] for each in line].index(document["_id"])]


def _check_library(to: str) -> None:
    module, extra = _NEEDS.get(to, ("", ""))
    if module:
        try:
            importlib.import_module(module)
        except ImportError:
            told = f'--to {to} needs {module}: python -m pip install -c constraints.txt -e ".[{extra}]"'
            raise UserError(told) from None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        full = any(folder.iterdir())
    except OSError as error:
        raise UserError(f"--output {folder}: {error.strerror}") from None
    if full:
        raise UserError(f"--output {folder}: there is something in it; name a new folder, or an empty one")


def _each(runs: Runs, documents: Sequence[Document]) -> Iterator[Exported]:
    from tqdm import tqdm

    labels = queries.called(documents)
    for document, label in zip(tqdm(documents, unit="run", delay=2.0), labels, strict=True):
        points = queries.curves(runs, [document["_id"]])
        yield Exported(_UNUSUAL.sub("_", str(document["_id"])), label, document, points)


def _csv(folder: Path, each: Iterable[Exported]) -> None:
    """`runs.csv`, a run a row; and `NAME.csv` for each, a step a row, a metric a column, and the time."""
    import pandas as pd

    rows = []
    for run in each:
        rows.append({**queries.row_of(run.document), "id": run.name})
        table = run.points.pivot(index="step", columns="metric", values="value")
        table.insert(0, "time", run.points.groupby("step")["time"].max())
        table.to_csv(folder / f"{run.name}.csv")
    pd.DataFrame(rows).to_csv(folder / "runs.csv", index=False)


def _tensorboard(folder: Path, each: Iterable[Exported]) -> None:
    """A folder for each run, with its scalars, its options as text, and both for the HParams tab."""
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    for run in each:
        with SummaryWriter(str(folder / run.name), write_to_disk=True) as writer:
            for point in run.points.itertuples(index=False):
                writer.add_scalar(_slashed(point.metric), point.value, point.step, walltime=point.time.timestamp())
            writer.add_text("config", f"```\n{json.dumps(run.config(), indent=1, default=str)}\n```")
            options = {name: _plain(value) for name, value in run.config().items()}
            result = {_slashed(f"result.{name}"): value for name, value in run.result().items()}
            # `add_hparams` would begin another file, which has this one's name where it is begun in the same second.
            for summary in hparams(options, result):
                writer.file_writer.add_summary(summary)
            for name, value in result.items():
                writer.add_scalar(name, value, int(run.points["step"].max()) if len(run.points) else 0)


def _wandb(folder: Path, each: Iterable[Exported]) -> None:
    """An offline run for each: `wandb sync FOLDER/wandb/offline-run-*` uploads them."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    quiet = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True, save_code=False)
    for run in each:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            made = wandb.init(
                mode="offline",
                dir=str(folder),
                project=PROJECT,
                id=_UNUSUAL.sub("_", str(run.document.get("uid") or run.name)),
                name=run.label,
                config=run.config(),
                settings=quiet,
            )
            for step, values in _by_step(run.points):
                made.log(values, step=step)
            made.summary.update({_slashed(f"result.{name}"): value for name, value in run.result().items()})
            made.finish()


def _by_step(points: pd.DataFrame) -> Iterator[tuple[int, dict[str, float]]]:
    for step, rows in points.sort_values("step", kind="stable").groupby("step", sort=True):
        values = {_slashed(name): float(value) for name, value in zip(rows["metric"], rows["value"], strict=True)}
        yield int(step), {**values, "_timestamp": rows["time"].max().timestamp()}


def _slashed(name: str) -> str:
    """These tools group metrics by what is before a slash: `train/loss`."""
    return name.replace(".", "/", 1)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


Writer = Callable[[Path, Iterable[Exported]], None]
WRITERS: Mapping[str, Writer] = {"csv": _csv, "tensorboard": _tensorboard, "wandb-offline": _wandb}
_NEEDS = {"tensorboard": ("tensorboardX", "tensorboard"), "wandb-offline": ("wandb", "wandb")}

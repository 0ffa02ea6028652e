"""From runs to the files of a figure: selected, written down as numbers, and drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.figures import drawing, selection, table
from experiments.figures.catalog import FIGURES, Figure
from experiments.figures.selection import Run, epochs
from experiments.tracking.source import Document, Runs
from framework.errors import UserError

SPLITS = ("test", "validation")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Request:
    """What to draw.

    Attributes:
        name: of `catalog.FIGURES`.
        output: the folder for the files.
        tell: takes lines for the user.
        split: `test` or `validation`.
        length: in epochs, of the runs that are drawn, where a figure shows one length alone; None takes the one that
            most curves have.
        chosen: how what is drawn was chosen, in a sentence of the caption.
        place: where runs were looked for and under which conditions, in a few words.
    """

    name: str
    output: Path
    tell: Callable[[str], None]
    split: str = "test"
    length: float | None = None
    chosen: str = ""
    place: str = ""

    @property
    def figure(self) -> Figure:
        """What it shows."""
        return FIGURES[self.name]


def make(runs: Runs, documents: Iterable[Document], wanted: Request) -> list[Path]:
    """Draw a figure, for each data set of the runs one.

    Args:
        runs: where the points are read from.
        documents: of the runs that may be drawn, as `Runs.latest` gives them.
        wanted: what to draw.

    Returns:
        The files.

    Raises:
        UserError: none of the runs belongs to the figure, or the folder can't be written.
    """
    found, notes = selection.readable(documents)
    own = selection.named(found, wanted.figure)
    if wanted.length is not None:
        # As people write what they were told.
        own = [run for run in own if math.isclose(run.length, wanted.length, rel_tol=5e-3)]
    if not own:
        raise UserError(_none(wanted, len(found)))
    for note in notes:
        wanted.tell(note)
    _make_folder(wanted.output)
    return [path for name, each in selection.by_data(own).items() for path in _one(runs, name, each, wanted)]


def _none(wanted: Request, count: int) -> str:
    where = f" in {wanted.place}" if wanted.place else ""
    what = f"of {count} runs{where} none belongs to figure {wanted.name!r}" if count else f"there are no runs{where}"
    which = f" of {epochs(wanted.length)} epochs" if wanted.length is not None else ""
    train = f"python -m experiments.study {wanted.figure.study} with RECIPE"
    other = "" if count else " (EXPERIMENTS_DIR or --dir names another folder, -m a server)"
    return f"{what}{which}{other}; to train what it shows: {train}"


def _one(runs: Runs, data: str, own: list[Run], wanted: Request) -> list[Path]:
    chosen, notes = selection.chosen(own, wanted.figure)
    frame, split, missing = table.table(runs, chosen, wanted.figure, wanted.split)
    for note in (*notes, *missing):
        wanted.tell(f"{wanted.name}, {data}: {note}")
    caption = _caption(frame, notes, wanted)
    name = Path(data).name or data
    title = f"{wanted.figure.title}: {name}"
    about = {"figure": wanted.name, "data": data, "split": split, "title": title, "caption": caption}
    stem = wanted.output / f"{wanted.name}-{_NOT_IN_NAMES.sub('_', name)}"
    if not len(frame):
        raise UserError(f"{data}: {len(chosen)} runs belong to figure {wanted.name!r}, and none has a point of it yet")
    table.write(frame, stem.with_name(f"{stem.name}.csv"), about)
    return [stem.with_name(f"{stem.name}.csv"), *drawing.draw(*table.read(stem.with_name(f"{stem.name}.csv")), stem)]


def again(path: Path, output: Path | None) -> list[Path]:
    """Draw a figure from the numbers behind it alone.

    Args:
        path: the CSV file.
        output: the folder for the files; None is that of the CSV file.

    Raises:
        UserError: it is no such file.
    """
    frame, about = table.read(path)
    missing = [name for name in ("figure", "split", "title", "caption") if name not in about]
    if missing or about["figure"] not in FIGURES:
        raise UserError(f"{path}: it doesn't say which figure it is; its first line is `# figure: NAME`")
    folder = output or path.parent
    _make_folder(folder)
    return drawing.draw(frame, about, folder / path.stem)


def _caption(frame: pd.DataFrame, notes: list[str], wanted: Request) -> str:
    """What a reader has to know to believe it."""
    seeds = frame.loc[frame["seed"] != "", ["curve", "length", "seed"]].drop_duplicates()
    several = len(seeds) and seeds.groupby(["curve", "length"]).size().max() > 1
    ends = any(panel.over == "epoch" for panel in wanted.figure.panels)
    told = [
        wanted.chosen
        or ("Of several specs, the best on validation data." if any("best on" in n for n in notes) else ""),
        "Means over the seeds, and from the smallest to the largest." if several else "One seed.",
        "A full mark is the end of a finished schedule; points before it have a higher learning rate." if ends else "",
        "Test data chose nothing." if any("test." in name for name in frame["metric"].unique()) else "",
    ]
    return " ".join(filter(None, told))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: {error.strerror}") from None

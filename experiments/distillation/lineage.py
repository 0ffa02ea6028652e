"""Which run is meant by a name, which runs it resumed, and how it ended: read from the folders of the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.distillation.options import RunOptions
from experiments.tracking.folders import RUNS, is_number, run_folders
from experiments.tracking.journal import JOURNAL, JournalReader, is_alive, last_records
from framework.errors import UserError
from framework.files.checkpoints import Checkpoints
from framework.files.paths import path_of
from framework.protocols import Array
from framework.spec import DistillSpec
from framework.spec.validation import plain

CHECKPOINTS = "checkpoints"
LATEST = "latest"


@dataclass(frozen=True)
class Origin:
    """A run that is resumed.

    Attributes:
        folder: its folder; the name is its uid.
        lineage: this folder and those of the runs that it resumed itself, the latest first.
        state: a trainer's state.
        metadata: what the checkpoint says about itself.
        notes: lines for the user: on checkpoints that could not be taken.
        passed_over: the segments that resumed one of these and left no checkpoint that can be taken.
    """

    folder: Path
    lineage: tuple[Path, ...]
    state: Mapping[str, Array]
    metadata: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    passed_over: tuple[Path, ...] = ()

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.state["step"])

    @property
    def spec(self) -> DistillSpec:
        """As it was run."""
        return DistillSpec.from_dict(self.metadata["spec"])

    @property
    def root_run(self) -> str:
        """The uid of the first of its segments."""
        return str(beginning(self.folder).get("root_run", self.folder.name))

    @property
    def superseded(self) -> list[Path]:
        """The checkpoints of segments that were cut short, which the next segment makes superfluous.

        A folder without a journal is not a segment's, but somebody's own.
        """
        runs = [folder for folder in self.segments if (folder / JOURNAL).is_file()]
        return [folder / CHECKPOINTS for folder in runs if last_status(folder) != "COMPLETED"]

    @property
    def segments(self) -> tuple[Path, ...]:
        """The folders of all segments so far, the latest first."""
        return (*self.passed_over, *self.lineage)

    def config(self) -> dict[str, Any]:
        """Spec and options as they were, as the config of the run that resumes this one."""
        known = plain(RunOptions())
        kept = {key: value for key, value in self.metadata.get("options", {}).items() if key in known}
        asked = {"resume": self.folder.name, "resume_anyway": False, "extend": None, "extend_level": None}
        return self.spec.to_dict() | known | kept | {"backend": self.metadata["backend"]} | asked

    def fields(self) -> dict[str, Any]:
        """What the run that resumes this one writes down about it."""
        return {
            "resumed_from": self.folder.name,
            "root_run": self.root_run,
            "resumed_at": self.step,
            "resumed_folder": str(self.folder),
            "passed_over": [str(folder) for folder in self.passed_over],
        }


def find(name: str, root: Path, uri: str | None = None, journal_only: bool = False) -> Path:
    """The folder of a run.

    Args:
        name: `latest`, a run's folder, its uid or a beginning of it, or its number in the database.
        root: the folder of runs.
        uri, journal_only: where the database is, as in `open_database`; it is asked where nothing else fits.

    Raises:
        UserError: there is no such run, there are several, or it is still running.
    """
    folder = _latest(root) if name == LATEST else _folder(name, root) or _in_database(name, root, uri, journal_only)
    if (folder / JOURNAL).is_file() and is_alive(folder):
        raise UserError(f"resume = {name!r}: run {folder.name} is still running")
    return folder


def last_status(folder: Path) -> str | None:
    """As what a run ended; None where its journal has no end: it was killed, or is still running."""
    ends = [record["status"] for record in _records(folder, tail=True) if record["type"] == "ended"]
    return ends[-1] if ends else None


def _latest(root: Path) -> Path:
    for folder in reversed(run_folders(root)):
        if not is_alive(folder) and has_checkpoint(folder):
            return folder
    raise UserError(f"resume = {LATEST!r}: no run in {root / RUNS} has a checkpoint")


def _folder(name: str, root: Path) -> Path | None:
    """A run's folder by its path or uid; None for what may be a number."""
    own = path_of(name)
    if (own / CHECKPOINTS).is_dir() or (own / JOURNAL).is_file():
        return own.absolute()
    if is_number(name):
        return None
    found = [folder for folder in run_folders(root) if folder.name.startswith(name)]
    if len(found) > 1:
        raise UserError(f"resume = {name!r} could be {', '.join(folder.name for folder in found[-3:])}")
    return found[0] if found else None


def folder_of(document: Mapping[str, Any], root: Path) -> Path:
    """Where a run of the database has its files; `root` is the folder of runs."""
    return Path((document.get("journal") or {}).get("folder") or root / RUNS / str(document.get("uid")))


def _in_database(name: str, root: Path, uri: str | None, journal_only: bool) -> Path:
    from experiments.tracking import both, queries
    from experiments.tracking.journals import InJournals

    with both.opened(uri, journal_only, root) as runs:
        if isinstance(runs, InJournals) and is_number(name):
            raise UserError(
                f"resume = {name!r}: no run in {root / RUNS} has this uid, and without a database runs have no numbers"
            )
        document = queries.find_run(runs, name)
    folder = folder_of(document, root)
    if not folder.is_dir():
        raise UserError(f"resume = {name!r}: its folder {folder} is not on this machine")
    return folder


def lineage(folder: Path) -> Iterator[Path]:
    """A run's folder, and those of the runs that it resumed, as far as they are here."""
    seen: set[Path] = set()
    while folder.is_dir() and folder not in seen:
        yield folder
        seen.add(folder)
        if (name := beginning(folder).get("resumed_folder")) is None:
            return
        # The runs may have been moved together.
        before = Path(name)
        folder = before if before.is_dir() else folder.parent / before.name


def has_checkpoint(folder: Path) -> bool:
    """Whether a run can be resumed: it has a checkpoint, or one of the runs that it resumed itself."""
    return any(Checkpoints(each / CHECKPOINTS).paths() for each in lineage(folder))


def beginning(folder: Path) -> dict[str, Any]:
    """The fields that a run wrote down about itself when it began."""
    found: dict[str, Any] = {}
    for record in _records(folder):
        found |= record["fields"] if record["type"] == "fields" else {}
    return found


def started(folder: Path) -> dict[str, Any]:
    """The record of a run's start, with its `spec` and the `environment` it had; {} where there is no such run."""
    return next((record for record in _records(folder) if record["type"] == "started"), {})


def _records(folder: Path, tail: bool = False) -> list[dict[str, Any]]:
    """The first or the last part of a journal, which may be long; nothing where there is none."""
    if not (folder / JOURNAL).is_file():
        return []
    return last_records(folder) if tail else JournalReader(folder).read()

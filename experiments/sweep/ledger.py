"""What a sweep keeps of itself: its points, and how the last run of each ended; a resume reads nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.distillation import lineage
from experiments.sweep.grid import Point
from experiments.tracking.folders import RUNS, new_uid
from experiments.tracking.journal import JOURNAL, is_alive
from framework.errors import UserError
from framework.files import stored
from framework.files.arrays import write_text
from framework.files.paths import path_of

SWEEPS, FILE = "sweeps", "sweep.json"
# A student whose loss was NaN or infinite would come to the same end again.
DIVERGED = "DIVERGED"


@dataclass
class Entry:
    """A point and its runs.

    Attributes:
        point: what is trained.
        runs: the uids of its runs, the latest last.
        number: of the latest in the database.
        status: as what it ended, COMPLETED, FAILED, ...; None while it has not.
        result: final metrics as plain nested values.
        told: why it failed.
    """

    point: Point
    runs: list[str] = field(default_factory=list)
    number: int | str | None = None
    status: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    told: str = ""


@dataclass
class Ledger:
    """The file of a sweep, written anew whenever something has changed.

    Attributes:
        root: the folder of runs.
        entries: what is swept.
        command: the command line.
        select: what the best is chosen by; None leaves it to the data.
        uid: its stable name.
        name: what its runs are found by, their field `sweep`; the uid where nothing is given.
    """

    root: Path
    entries: Sequence[Entry]
    command: str
    select: str | None
    uid: str = field(default_factory=new_uid)
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or self.uid

    @property
    def file(self) -> Path:
        """Where it is kept, once it is written."""
        return self.root / SWEEPS / self.uid / FILE

    def write(self) -> None:
        """Bring it to the disk: the old file or the new one is there at any moment."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {"sweep": self.uid, "name": self.name, "command": self.command, "select": self.select}
        document = kept | {"points": [asdict(entry) for entry in self.entries]}
        write_text(self.file, json.dumps(document, indent=1))

    def is_finished(self, entry: Entry) -> bool:
        """Whether nothing is left to do for a point."""
        if entry.status == "COMPLETED":
            return stored.is_stored(self.run_folder(entry) / "student")
        return entry.status == DIVERGED

    def run_folder(self, entry: Entry) -> Path:
        """The folder of a point's latest run."""
        return self.root / RUNS / entry.runs[-1]

    def origin(self, entry: Entry) -> Path | None:
        """The run that a point can go on from: its latest, where that or one before it has a checkpoint."""
        if not entry.runs:
            return None
        folder = self.run_folder(entry)
        return folder if lineage.has_checkpoint(folder) else None


def read(name: str, root: Path) -> Ledger:
    """A sweep by its uid, the beginning of one, its folder, or `latest`.

    Raises:
        UserError: there is no such sweep, there are several, or it is still running.
    """
    folders = sorted(path.parent for path in (root / SWEEPS).glob(f"*/{FILE}"))
    own = path_of(name)
    found = [own] if (own / FILE).is_file() else [each for each in folders if each.name.startswith(name)]
    if name == lineage.LATEST:
        found = folders[-1:]
    if len(found) != 1:
        known = ", ".join(each.name for each in (found or folders)[-3:]) or "none"
        what = "could be" if found else f"no such sweep in {root / SWEEPS}; the last ones:"
        raise UserError(f"resume = {name!r}: {what} {known}")
    document = json.loads((found[0] / FILE).read_text(encoding="utf-8"))
    entries = [Entry(**each | {"point": Point(**each["point"])}) for each in document["points"]]
    ledger = Ledger(root, entries, document["command"], document["select"], document["sweep"], document.get("name", ""))
    for entry in entries:
        if entry.runs and (ledger.run_folder(entry) / JOURNAL).is_file() and is_alive(ledger.run_folder(entry)):
            raise UserError(f"resume = {name!r}: sweep {ledger.uid} is still running")
    return ledger

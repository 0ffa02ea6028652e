"""Where runs are: the folder of all of them, and the folder of each."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

from experiments.tracking.pieces import JOURNAL
from framework.errors import UserError
from framework.files.paths import path_of

RUNS = "runs"
# Of the day that a uid begins with.
_DAY_DIGITS = 8


def default_root() -> Path:
    """The folder of runs and the embedded server: EXPERIMENTS_DIR, or `.experiments` in the current folder."""
    # A `~` is the shell's, but in quotes, in a unit file or in a Dockerfile no shell sees it.
    return path_of(os.environ.get("EXPERIMENTS_DIR") or ".experiments").absolute()


def found_root() -> Path:
    """Where runs are looked for: as `default_root`, or the nearest `.experiments` in the folders above, as git does."""
    here = default_root()
    if os.environ.get("EXPERIMENTS_DIR"):
        return here
    above = (folder / here.name for folder in here.parents)
    return next((folder for folder in above if folder.is_dir()), here)


def check_root(root: Path) -> None:
    """Refuse a folder in which no run can be made, before anything is trained; nothing is made.

    Raises:
        UserError: the nearest folder that is there is no folder, or may not be written; or its name can't be.
    """
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        raise UserError(
            f"no run can be stored in {os.fsencode(root)!r}: its name is not in this locale's encoding, {encoding}; "
            "PYTHONUTF8=1 takes UTF-8, EXPERIMENTS_DIR names another folder"
        ) from error
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "may not be written" if nearest.is_dir() else "is not a folder"
        raise UserError(f"no run can be stored in {root}: {nearest} {what}; EXPERIMENTS_DIR names another folder")


def new_uid() -> str:
    """A run's stable name: UTC time to the millisecond, then random digits; names sort by time."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%d-%H%M%S}{now.microsecond // 1000:03d}-{secrets.token_hex(4)}"


def new_run_folder(root: Path) -> Path:
    """Make the folder of a new run, `root/runs/<uid>`, private to its user.

    Raises:
        UserError: the folder can't be made.
    """
    folder = root.absolute() / RUNS / new_uid()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise UserError(
            f"the run's folder {folder} can't be made: {error.strerror}; EXPERIMENTS_DIR moves it"
        ) from None
    return folder


def is_number(name: str) -> bool:
    """Whether a name can be a number of the database: it has fewer digits than the day that a uid begins with."""
    return name.isdigit() and len(name) < _DAY_DIGITS


def run_folders(root: Path) -> list[Path]:
    """The folders of all journaled runs, oldest first."""
    return sorted(path.parent for path in (root / RUNS).glob(f"*/{JOURNAL}"))

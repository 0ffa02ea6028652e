"""Sacred's own options: what they are given is checked before anything is written down. docs/sacred.md has them all."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any

from experiments.distillation import sources
from experiments.tracking import readers
from experiments.tracking.folders import check_root
from experiments.tracking.machine import NotKnown, repository
from experiments.tracking.snapshot import PROJECT
from framework.errors import UserError, few, near, one_line
from framework.spec import DistillSpec

QUEUE, CLEAN, FILES, SQL, ID = "--queue", "--enforce_clean", "--file_storage", "--sql", "--id"
# Those that add an observer, with the modules that it imports.
OBSERVERS = {
    FILES: (),
    "--mongo_db": (),
    "--tiny_db": ("tinydb", "tinydb_serialization", "hashfs"),
    SQL: ("sqlalchemy",),
    "--s3": ("boto3",),
}
_CAPTURE = ("no", "sys", "fd")


def check(options: Mapping[str, Any]) -> None:
    """Refuse what an option of Sacred's, by its long name, can't take, and what is missing for it.

    Raises:
        UserError: it names the option.
    """
    if options.get(QUEUE):
        _check_queue(options)
    for name in ("--beat-interval", "--priority"):
        _check_number(name, options.get(name))
    capture, level = options.get("--capture"), options.get("--loglevel")
    if capture is not None and capture not in _CAPTURE:
        raise UserError(f"--capture {capture}: {near(capture, _CAPTURE)}")
    if level is not None:
        log_level(level)
    if options.get(ID) is not None:
        run_id(options[ID])
    for name, modules in OBSERVERS.items():
        if options.get(name):
            _check_installed(name, modules)
    _check_places(options)


def log_level(text: str) -> int:
    """A level of Python's logging, by number or name.

    Raises:
        UserError: there is none like it.
    """
    names = logging.getLevelNamesMapping()
    if text.isdecimal() or text.upper() in names:
        return int(text) if text.isdecimal() else names[text.upper()]
    raise UserError(f"--loglevel {text}: a number from 0 to 50, or {near(text.upper(), names)}")


def run_id(text: str) -> int | str:
    """The id of a run: a number, as the database gives them, or a name.

    Raises:
        UserError: it can be neither.
    """
    if not re.fullmatch(r"[\w.@:+-]{1,100}", text) or text.strip(".") == "":
        raise UserError(f"--id {text!r}: expected a number, or a name of letters, digits and . _ - @ : +")
    return int(text) if text.isdecimal() and len(text) < 19 else text


def without_observers(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command that trains nothing: nobody hears of it."""
    return {**options, **dict.fromkeys(OBSERVERS), CLEAN: False, QUEUE: False, "--unobserved": True}


def check_chosen(
    options: Mapping[str, Any], spec: DistillSpec, root: Path, uri: str | None, journal_only: bool
) -> None:
    """Refuse what depends on more than the option itself: sources that are not committed, an id that is taken.

    Where the run goes is said as in `open_database`.

    Raises:
        UserError: it names the option.
    """
    if options.get(CLEAN):
        _check_clean([PROJECT, *dict.fromkeys(file.parent for file in sources.own(spec).values())])
    if options.get(ID) is not None:
        wanted = run_id(options[ID])
        with readers.opened(uri, journal_only, root) as runs:
            named = runs.named(str(wanted))
            if any(wanted in (each["_id"], (each.get("journal") or {}).get("id")) for each in named):
                raise UserError(f"--id {wanted}: there is a run {wanted} already")


def _check_queue(options: Mapping[str, Any]) -> None:
    """A queue is in a database that workers reach; where else a run is to be logged, they can't know."""
    names = [*(name for name in OBSERVERS if name != "--mongo_db"), "--unobserved", "--journal-only"]
    for name in names:
        if options.get(name):
            raise UserError(f"-q stores a run in MongoDB, where workers find it: leave {name} out")


def _check_clean(folders: Sequence[Path]) -> None:
    """Hold the repository of the project, and then those of the user's own modules, against their commits."""
    for place, folder in enumerate(folders):
        try:
            found = repository(folder)
        except NotKnown as error:
            if place == 0:
                raise UserError(f"--enforce_clean: git doesn't tell what has changed in {folder}: {error}") from None
            continue
        if changed := found["changed"]:
            raise UserError(f"--enforce_clean: not committed in {folder}: {few(changed, show=str)}")


def _check_number(name: str, text: str | None) -> None:
    try:
        is_right = text is None or 0 <= float(text) < math.inf or name != "--beat-interval"
    except ValueError:
        is_right = False
    if not is_right:
        seconds = " of seconds, 0 or more" if name == "--beat-interval" else ""
        raise UserError(f"{name} {text}: expected a number{seconds}")


def _check_installed(name: str, modules: tuple[str, ...]) -> None:
    missing = [module for module in modules if util.find_spec(module) is None]
    if missing:
        packages = " ".join(module.replace("_", "-") for module in missing)
        raise UserError(f"{name} needs {', '.join(missing)}: python -m pip install {packages}")


def _check_places(options: Mapping[str, Any]) -> None:
    files, run, bucket = options.get(FILES), options.get(ID), options.get("--s3")
    if files:
        _check_folder(FILES, Path(files))
        if run is not None and (Path(files) / run).exists():
            raise UserError(f"{FILES} {files}: there is a run {run} already, and --id {run} names it")
    if options.get("--tiny_db"):
        _check_folder("--tiny_db", Path(options["--tiny_db"]))
    if bucket:
        _check_s3(bucket)
    if options.get(SQL):
        _check_sql(options[SQL])


def _check_folder(name: str, folder: Path) -> None:
    try:
        check_root(folder.absolute())
    except UserError as error:
        raise UserError(f"{name} {folder}: {str(error).partition(';')[0]}") from None


def _check_s3(text: str) -> None:
    """Look into the bucket: Sacred does so when the run has begun."""
    place = re.fullmatch(r"s3://([^/]+)/(.+)", text)
    if place is None:
        raise UserError(f"--s3 {text}: expected s3://BUCKET/FOLDER")
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    if boto3.Session().region_name is None:
        raise UserError(f"--s3 {text}: no region is known: set AWS_DEFAULT_REGION")
    try:
        client = boto3.client(
            "s3", config=Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2})
        )
        client.list_objects_v2(Bucket=place[1], Prefix=place[2], MaxKeys=1)
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"--s3 {text}: {one_line(error)}") from None


def _check_sql(text: str) -> None:
    """Reach the database; a file of SQLite that isn't there yet is not made for that."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = sqlalchemy.create_engine(text)
        path = Path(engine.url.database or ":memory:")
        if engine.dialect.name != "sqlite" or path.exists():
            engine.connect().close()
        elif not path.absolute().parent.is_dir():
            raise UserError(f"--sql: there is no folder {path.absolute().parent}")
    except (SQLAlchemyError, ImportError) as error:
        told = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise UserError(f"--sql: {told}; the form is DIALECT://HOST:PORT/DATABASE") from None

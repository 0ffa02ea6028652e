"""Opens runs for reading: a server that was named, the embedded one where it has data, and the journals elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.tracking.dead import mark_dead
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.folders import run_folders
from experiments.tracking.journals import InJournals
from experiments.tracking.mongod import DatabaseError, Destination, named_server, open_database
from experiments.tracking.source import InDatabase, Runs
from framework.errors import UserError


@contextmanager
def opened(uri: str | None, journal_only: bool, root: Path) -> Iterator[Runs]:
    """The runs there are, with the arguments of `open_database`; nothing is made where there are none.

    Raises:
        UserError: a server that was named can't be reached, or refuses.
    """
    destination = _database(uri, journal_only, root)
    if destination is None or destination.database is None:
        yield InJournals(root)
        return
    with destination:
        # Whoever may only read sees the runs as they are written down.
        with contextlib.suppress(DatabaseError, OSError):
            mark_dead(destination.database)
        yield InDatabase(destination.database)


def place(uri: str | None, journal_only: bool, root: Path) -> str:
    """Where `opened` looks, in a few words without credentials."""
    return "this database" if named_server(uri, journal_only) else str(root)


def _database(uri: str | None, journal_only: bool, root: Path) -> Destination | None:
    if named_server(uri, journal_only):
        return open_database(uri, journal_only, root, writes=False)
    if journal_only or not (EmbeddedServer(root).folder / "db").is_dir():
        return None
    try:
        destination = open_database(None, False, root, required=True)
    except UserError as error:
        print(f"{str(error).partition(';')[0]}: this is what the journals have", file=sys.stderr)
        return None
    _tell_missing(destination, root)
    return destination


def _tell_missing(destination: Destination, root: Path) -> None:
    """Runs of `--journal-only`, and what an outage left out."""
    assert destination.database is not None
    runs = destination.database.runs
    known = {*runs.distinct("uid"), *runs.distinct("queue.attempts.uid")}
    missing = sum(folder.name not in known for folder in run_folders(root))
    if missing:
        what, them = ("run is in its journal", "it") if missing == 1 else ("runs are in their journals", "them")
        print(f"{missing} {what} alone, `{destination.replay_command()}` adds {them}", file=sys.stderr)

"""When a command opens its database: a server that is named must answer at once; all else waits for a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from experiments.tracking.mongod import Destination, check_database, open_database


@contextmanager
def database(uri: str | None, journal_only: bool, root: Path) -> Iterator[Callable[[], Destination]]:
    """A function that gives the destination of runs, the same each time; before its first call nothing is made.

    Args and errors are those of `open_database`.
    """
    check_database(uri, journal_only)
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(open_database(uri, journal_only, root)))

"""When a command opens its database: a server that is named must answer first, our own is started for a run alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from experiments.tracking.mongod import VARIABLE, Destination, open_database


@contextmanager
def database(uri: str | None, journal_only: bool, root: Path) -> Iterator[Callable[[], Destination]]:
    """A function that gives the destination of runs, the same each time; what is refused before starts no server.

    Args and errors are those of `open_database`.
    """
    made: list[Destination] = []
    with ExitStack() as stack:

        def opened() -> Destination:
            if not made:
                made.append(stack.enter_context(open_database(uri, journal_only, root)))
            return made[0]

        if uri or journal_only or os.environ.get(VARIABLE):
            opened()
        yield opened

"""Commands that train several runs: a signal ends them all, and its kind is the exit code."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from experiments.command.exit import guarded
from experiments.command.sacred_run import Ended
from experiments.tracking.scrub import scrub_text
from framework.loop.stop import Stop


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Listen to signals meanwhile.

    Raises:
        Ended: a signal came while nobody looked at the note of it.
    """
    with Stop().listening() as stop:
        try:
            yield stop
        except KeyboardInterrupt as error:
            raise Ended(stop.status or "INTERRUPTED") from error


def main(
    name: str,
    parse: Callable[[Sequence[str]], argparse.Namespace],
    run: Callable[[argparse.Namespace, str, Stop], int],
    arguments: Sequence[str] | None,
) -> int:
    """Run a command line; returns the exit code.

    Args:
        name: of the command, `"experiments.sweep"`.
        parse: reads the words.
        run: does it, given the options, the command line without secrets, and what signals ask for.
        arguments: the words; None takes those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(words)
    command = scrub_text(shlex.join(["python", "-m", name, *words]))

    def call() -> int:
        with stoppable() as stop:
            return run(options, command, stop)

    return guarded(name, call, options.debug)

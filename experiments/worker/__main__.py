"""Run what was queued with `experiments.run -q` or `experiments.sweep --queue`, one run after the other.

    python -m experiments.worker
    python -m experiments.worker -m db.example:27017:runs --idle-exit 600
    python -m experiments.worker --where config.data.name=flowers --max-runs 1
    python -m experiments.worker --cancel 3 4

Any number of workers, on any machines that reach the database, share one queue: each run is claimed by one of them, the
oldest first (-P sets a priority), and run in a process of its own, under its own number. A worker leaves runs for
backends that are not installed here to others. What a worker that died has left undone goes back to the queue, and
continues from its newest checkpoint where this machine can reach that, and from its first step otherwise.

Ctrl-C and SIGTERM: the present run stops with a checkpoint and goes back to the queue; a second Ctrl-C ends it at once.
Exit codes: 0 done, 1 a run has failed, 2 a mistake in the command, 75 SIGTERM, 130 Ctrl-C or a closed terminal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import backends
from experiments.command import stopping
from experiments.command.exit import DONE, Parser, add_debug
from experiments.command.options import run_id
from experiments.config import defaults
from experiments.tracking import claims, fields, queries
from experiments.tracking.folders import check_root, default_root
from experiments.tracking.mongod import open_database
from experiments.tracking.values import Mongo
from experiments.worker.working import Worker
from framework.errors import UserError
from framework.loop.stop import Stop

NAME = "experiments.worker"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser.described(NAME, __doc__)
    add = parser.add_argument
    add("-m", "--mongo_db", metavar="ADDRESS", help="where the queue is, as in experiments.run")
    add("--max-runs", type=_count, default=inf, metavar="N", help="end after N runs")
    until = "end when nothing has waited for so long (default: never)"
    add("--idle-exit", type=_seconds, default=inf, metavar="SECONDS", help=until)
    add(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="claim only such runs; also != > >= < <= and ~ (regex); repeatable",
    )
    add(
        "--lost-after",
        type=_seconds,
        default=claims.LOST_S,
        metavar="SECONDS",
        help="give back runs whose worker has shown no heartbeat for so long; 0.5 or more "
        "(%(default)g; one that died on this machine is noticed at once)",
    )
    add("--cancel", nargs="+", metavar="ID", help="take these runs out of the queue instead, and end")
    add_debug(parser)
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < inf:
        raise argparse.ArgumentTypeError(f"takes a number of seconds, got {text!r}")
    return seconds


def filtered(database: Mongo, where: Sequence[str]) -> Mapping[str, Any]:
    """What runs are claimed: those that meet the conditions, and whose backend is here.

    Raises:
        UserError: a field that no run has, or no condition.
    """
    known = queries.known_fields(database) | {f"config.{name}" for name in fields.flatten(defaults())}
    here = {"config.backend": {"$in": [None, *backends.installed()]}}
    return {"$and": [here, *filter(None, [fields.conditions(where, known)])]}


def run(found: argparse.Namespace, command: str, stop: Stop) -> int:
    """The command; returns its exit code.

    Raises:
        UserError: no database, no backend, or a condition that can't be.
    """
    root: Path = default_root()
    if found.cancel:
        return cancelled(found, root)
    if not backends.installed():
        raise UserError("no backend is installed here, so no run can be: python -m pip install -e '.[jax]'")
    if found.lost_after < 0.5:
        raise UserError(f"--lost-after {found.lost_after:g}: must be 0.5 or more")
    check_root(root)
    with open_database(found.mongo_db, False, root, required=True) as destination:
        assert destination.database is not None
        where = filtered(destination.database, found.where)
        return Worker(destination, root, where, found, stop).work()


def cancelled(found: argparse.Namespace, root: Path) -> int:
    """Take runs out of the queue, and say so; returns the exit code.

    Raises:
        UserError: no database, or a run that doesn't wait; those before it are out of the queue.
    """
    with open_database(found.mongo_db, False, root, required=True) as destination:
        assert destination.database is not None
        for text in found.cancel:
            status = claims.cancel(destination.database, run_id(text))
            if status is not None:
                raise UserError(f"run {text} is {status}, not QUEUED; Ctrl-C or SIGTERM stops one that is running")
            print(f"run {text} is out of the queue")
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return stopping.main(NAME, parse, run, arguments)


if __name__ == "__main__":
    sys.exit(main())

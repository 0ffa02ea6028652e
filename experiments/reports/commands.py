"""The subcommands of `python -m experiments.runs` that make something to look at: report, watch, export."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from experiments.command.exit import DONE, INTERRUPTED
from experiments.db import positive
from framework.errors import UserError, some

if TYPE_CHECKING:
    from experiments.tracking.source import Document, Runs

# Prints what a command asks for; an exit code of None means that all was well.
Answer: TypeAlias = Callable[["Runs", argparse.Namespace], int | None]


def add(command: Callable[..., argparse.ArgumentParser], filters: argparse.ArgumentParser) -> None:
    """Add them: by name, what answers it, a text, and the options that choose among the runs."""
    text = "one HTML file to look at: table, curves, differences, classes, disagreements; it needs no network"
    report = command("report", _report, text, filters)
    _add_runs(report)
    report.add_argument(
        "--output", type=Path, default=Path("report.html"), metavar="FILE.html", help="the file (report.html)"
    )
    watch = command(
        "watch", _watch, "follow a run in the terminal until it ends: curves, speed, time left, last evaluation"
    )
    watch.add_argument("run", nargs="?", metavar="ID", help="none: the latest that is running, or else the latest")
    text = "metrics and options of runs for other tools (experiments.export writes students to be used elsewhere)"
    export = command("export", _export, text, filters)
    _add_runs(export)
    export.add_argument(
        "--to",
        required=True,
        choices=("csv", "tensorboard", "wandb-offline"),
        help="csv: a file a run; tensorboard: event files, also for `tensorboard --logdir FOLDER`; wandb-offline: for "
        "`wandb sync FOLDER/wandb/offline-run-*`",
    )
    export.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a new folder, or an empty one")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="ID", help="none: all, or those that meet --where")
    parser.add_argument("--last", type=positive, metavar="N", help="only the latest N")


def _watch(runs: Runs, found: argparse.Namespace) -> int:
    from experiments.reports import following, watch
    from experiments.tracking.mongod import named_server

    try:
        watch.watch(
            following.follow(runs, found.root, found.run, local=not named_server(found.uri, found.journal_only))
        )
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


def _report(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.reports import page, payload

    if found.output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {found.output}: expected a file that ends in .html")
    documents = _chosen(runs, found)
    page.write(found.output, payload.payload(runs, documents))
    print(f"{found.output} ({some(len(documents), 'run', 'runs')}, {found.output.stat().st_size / 1e6:.1f} MB)")


def _export(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.reports import exports

    documents = exports.export(runs, _chosen(runs, found), found.to, found.output)
    print(f"{found.output} ({some(len(documents), 'run', 'runs')})")


def _chosen(runs: Runs, found: argparse.Namespace) -> list[Document]:
    from experiments.reports import payload
    from experiments.tracking import readers

    if found.runs and (found.where or found.last):
        raise UserError(f"{found.command} takes the IDs of runs, or conditions (--where, --last), not both")
    documents = payload.chosen(runs, found.runs, found.where, found.last)
    if not documents:
        where = readers.place(found.uri, found.journal_only, found.root)
        told = "no runs meet the conditions" if found.where else f"there are no runs in {where}"
        raise UserError(f"{told}: nothing to {found.command}")
    return documents

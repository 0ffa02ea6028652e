"""Questions to the runs in the database: `python -m experiments.runs list|show|best|compare|groups|curves`.

    python -m experiments.runs list --where config.backend=jax --sort -accuracy --last 20
    python -m experiments.runs compare 3 7
    python -m experiments.runs curves 3 7 --metric 'train.*' --plot curves.png

A run is named by its number, its uid, or a beginning of the uid. A field is named whole (`result.test.student.kl`) or
by its end (`student.kl`, `backend`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.command.exit import DONE, Parser, guarded
from experiments.db import add_address
from experiments.tracking.journal import default_root

if TYPE_CHECKING:
    import pandas as pd

    from experiments.tracking.values import Mongo


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    common = Parser(add_help=False)
    add_address(common)
    form = common.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"print {name.upper()}")
    common.set_defaults(form="table")
    filters = Parser(add_help=False)
    filters.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="also != > >= < <= and ~ (regex); repeatable",
    )
    title, _, text = (__doc__ or "").partition("\n\n")
    parser = Parser(
        prog="python -m experiments.runs",
        description=title,
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|show|best|compare|groups|curves")

    def command(name: str, text: str, *parents: Parser) -> Parser:
        return commands.add_parser(name, help=text, description=text, parents=[common, *parents])

    listed = command("list", "the runs, and means over seeds where runs differ in nothing else", filters)
    listed.add_argument("--sort", metavar="[-]FIELD", help="- for the largest first (default: the latest last)")
    listed.add_argument("--last", type=_positive, metavar="N", help="only the latest N")
    listed.add_argument("--columns", metavar="FIELD,...", help="these fields instead of the usual ones")
    command("show", "all of one run").add_argument("run", metavar="ID")
    best = command("best", "the best runs", filters)
    best.add_argument("--by", metavar="[-|+]FIELD", help="- largest, + smallest first (default: the test accuracy)")
    best.add_argument("--count", type=_positive, default=10, metavar="N")
    command("compare", "what differs in the configs, beside the results").add_argument("runs", nargs="+", metavar="ID")
    groups = command("groups", "means and spreads over seeds, by spec and backend", filters)
    groups.add_argument("--by", action="append", metavar="FIELD", help="repeatable (default: the test accuracy)")
    curves = command("curves", "metrics over steps")
    curves.add_argument("runs", nargs="+", metavar="ID")
    curves.add_argument(
        "--metric", action="append", metavar="NAME", help="a name or pattern; repeatable (default: all)"
    )
    curves.add_argument("--plot", type=Path, metavar="FILE", help="draw them into a .png, .svg or .pdf file")
    return parser.parse_args(_signed(sys.argv[1:] if arguments is None else arguments))


def _signed(arguments: Sequence[str]) -> list[str]:
    """Let `--sort -FIELD` be written with a blank: argparse would take -FIELD for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--sort", "--by") and argument.startswith("-") and not argument.startswith("--"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, got {text!r}")
    return int(text)


def answer(database: Mongo, found: argparse.Namespace) -> None:
    """Print what a command asks for."""
    from experiments.tracking import fields, queries, tables

    if found.command == "list":
        _list(database, found)
    elif found.command == "best":
        frame = queries.best(database, found.by or queries.ACCURACY, found.where, found.count)
        sorted_by = fields.resolve((found.by or queries.ACCURACY).lstrip("+-"), frame.columns) if len(frame) else "id"
        tables.show_frame(tables.usual(frame, found.form, sorted_by), found.form)
    elif found.command == "show":
        _show(database, found)
    elif found.command == "compare":
        tables.show_frame(queries.compare(database, found.runs), found.form, index=True)
    elif found.command == "groups":
        tables.show_frame(queries.by_fingerprint(database, found.by or [queries.ACCURACY], found.where), found.form)
    else:
        _curves(queries.curves(database, found.runs, found.metric), found)


def _list(database: Mongo, found: argparse.Namespace) -> None:
    from experiments.tracking import fields, queries, tables

    frame = queries.list_runs(database, found.where, found.sort, found.last)
    if found.columns and len(frame):
        shown = frame[[fields.resolve(name.strip(), frame.columns) for name in found.columns.split(",")]]
    else:
        shown = tables.usual(frame, found.form)
    if found.form == "table" and not len(frame):
        print("no runs meet the conditions" if found.where else "there are no runs yet")
        return
    tables.show_frame(shown, found.form)
    if found.form == "table" and queries.ACCURACY in frame:
        groups = queries.by_fingerprint(database, where=found.where)
        same = groups[groups.groupby("fingerprint_no_seed")["runs"].transform("sum") > 1]
        same = same[same["ids"].map(lambda ids: bool(set(ids) & set(frame["id"])))]
        if len(same):
            print("\nthe same spec, over seeds and backends:")
            tables.show_frame(tables.renamed(same), found.form)


def _show(database: Mongo, found: argparse.Namespace) -> None:
    from experiments.tracking import queries, tables

    tables.show_frame(queries.show(database, found.run), found.form)
    tail = queries.find_run(database, found.run).get("captured_out", "") if found.form == "table" else ""
    if tail:
        print("\noutput (its end):\n" + "\n".join(tail.splitlines()[-20:]))


def _curves(frame: pd.DataFrame, found: argparse.Namespace) -> None:
    from experiments.tracking import plots, tables

    if found.plot is not None:
        plots.plot(frame, found.plot)
        print(found.plot)
    elif found.form != "table":
        tables.show_frame(frame, found.form)
    elif len(frame):
        tables.show_frame(plots.wide(frame), found.form, index=True)
    else:
        print("these runs have no metrics")


def run(found: argparse.Namespace) -> int:
    """Answer a parsed command line."""
    from experiments.tracking.mongod import open_database

    with open_database(found.uri, False, (found.dir or default_root()).absolute(), required=True) as destination:
        assert destination.database is not None
        _mark_dead(destination.database)
        answer(destination.database, found)
    return DONE


def _mark_dead(database: Mongo) -> None:
    """Whoever may only read sees the runs as they are written down."""
    import contextlib

    from experiments.tracking.dead import mark_dead
    from experiments.tracking.mongod import DatabaseError

    with contextlib.suppress(DatabaseError, OSError):
        mark_dead(database)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one question; returns the exit code."""
    found = parse(arguments)
    return guarded("experiments.runs", lambda: run(found), found.debug)


if __name__ == "__main__":
    sys.exit(main())

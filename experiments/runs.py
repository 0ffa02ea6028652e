"""Look at your runs: list, show, compare, plot, repeat, report, watch and export them.

    python -m experiments.runs list --where config.backend=jax --sort -accuracy --last 20
    python -m experiments.runs compare 3 7
    python -m experiments.runs curves 3 7 --metric 'train.*' --plot curves.png
    python -m experiments.runs curves --where data.name=digits --mean-over seed --label teaching --plot curves.png
    python -m experiments.runs report --output report.html
    python -m experiments.runs rerun 3 with seed=1

A run is named by its number, its uid, or a beginning of the uid. A field is named whole (`result.test.student.kl`) or
by its end (`student.kl`, `backend`); `accuracy` is the student's on the test split. Without a database the journals are
read, in which runs have no numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.command.exit import DONE, Parser, guarded
from experiments.db import add_address, positive
from experiments.reports import commands as reports
from experiments.tracking.folders import found_root
from framework.errors import UserError

if TYPE_CHECKING:
    from experiments.tracking.source import Runs


def _shared() -> tuple[Parser, Parser, Parser]:
    """The options that say where the runs are, in which form they are told, and which are meant."""
    place, form, filters = (Parser(add_help=False) for _ in range(3))
    add_address(place)
    place.add_argument("-J", "--journal-only", action="store_true", help="read the journals, not a database")
    forms = form.add_mutually_exclusive_group()
    for name in ("json", "csv"):
        forms.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"print {name.upper()}")
    form.set_defaults(form="table")
    filters.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="also != > >= < <= and ~ (regex); repeatable",
    )
    return place, form, filters


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    place, form, filters = _shared()
    parser = Parser.described("experiments.runs", __doc__)
    names = "list|show|best|compare|groups|curves|sources|rerun|report|watch|export"
    commands = parser.add_subparsers(dest="command", required=True, metavar=names)

    def command(name: str, answer: reports.Answer | None, text: str, *parents: Parser) -> Parser:
        made: Parser = commands.add_parser(name, help=text, description=text, parents=[place, *parents])
        made.set_defaults(answer=answer)
        return made

    listed = command("list", _list, "the runs, and means over seeds where runs differ in nothing else", form, filters)
    listed.add_argument("--sort", metavar="[-]FIELD", help="- for the largest first (default: the latest last)")
    listed.add_argument("--last", type=positive, metavar="N", help="only the latest N")
    listed.add_argument("--columns", metavar="FIELD,...", help="these fields instead of the usual ones")
    command("show", _show, "everything about one run", form).add_argument("run", metavar="ID")
    best = command("best", _best, "the best runs", form, filters)
    best.add_argument("--by", metavar="[-|+]FIELD", help="- largest, + smallest first (default: the test accuracy)")
    best.add_argument("--count", type=positive, default=10, metavar="N")
    compared = command("compare", _compare, "how the configs differ, beside the results", form)
    compared.add_argument("runs", nargs="+", metavar="ID")
    groups = command("groups", _groups, "means and spreads over seeds, by spec and backend", form, filters)
    groups.add_argument("--by", action="append", metavar="FIELD", help="repeatable (default: the test accuracy)")
    _add_curves(command("curves", _curves, "metrics over steps", form, filters))
    captured = command("sources", _sources, "the source files that a run was made of", form)
    captured.add_argument("run", metavar="ID")
    captured.add_argument(
        "--diff", nargs="?", const="", metavar="ID", help="how they differ from the commit; from another run; or `here`"
    )
    again = command("rerun", None, "repeat a run as it is stored, with the sources that are here", form)
    again.add_argument("run", metavar="ID")
    again.add_argument("words", nargs="*", metavar="with KEY=VALUE", help="with changes")
    reports.add(command, filters)
    return parser.parse_args(_signed(sys.argv[1:] if arguments is None else arguments))


def _add_curves(curves: Parser) -> None:
    curves.add_argument("runs", nargs="*", metavar="ID", help="none: those that meet --where")
    curves.add_argument(
        "--metric", action="append", metavar="NAME", help="a name or pattern; repeatable (default: all; drawn: a few)"
    )
    curves.add_argument("--plot", type=Path, metavar="FILE", help="draw them into a .png, .svg or .pdf file")
    curves.add_argument("--log", choices=("x", "y", "xy"), default="", help="axes of the picture that are logarithmic")
    curves.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="FIELD",
        help="in the legend; repeatable (default: what differs)",
    )
    curves.add_argument("--mean-over", metavar="FIELD", help="runs that differ in nothing else are one curve: seed")


def _signed(arguments: Sequence[str]) -> list[str]:
    """Let `--sort -FIELD` be written with a blank: argparse would take -FIELD for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--sort", "--by") and argument.startswith("-") and not argument.startswith("--"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _compare(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.tracking import queries, tables

    tables.show_frame(queries.compare(runs, found.runs), found.form, index=True)


def _groups(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.tracking import queries, tables

    frame = queries.by_fingerprint(runs, found.by or _measured(runs), found.where)
    tables.show_frame(tables.grouped(frame) if found.form == "table" else frame, found.form)


def _sources(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.tracking import code, queries, tables

    document = queries.find_run(runs, found.run)
    if found.diff is None:
        tables.show_frame(code.listing(runs, document), found.form)
        return
    if not found.diff:
        text = code.uncommitted(runs, document)
        print(text, end="")
        if not text:
            print("its sources were those of its commit, or under no version control", file=sys.stderr)
        return
    before = code.of(runs, document)
    other = None if found.diff == code.HERE else queries.find_run(runs, found.diff)
    after = code.here(document, before) if other is None else code.of(runs, other)
    for line in code.diff(before, after):
        print(line)


def _no_runs(found: argparse.Namespace) -> None:
    import pandas as pd

    from experiments.tracking import readers, tables

    if found.form == "table":
        where = readers.place(found.uri, found.journal_only, found.root)
        print(f"there are no runs in {where}; EXPERIMENTS_DIR or --dir names another folder, -m a server")
    else:
        tables.show_frame(pd.DataFrame(), found.form)


def _measured(runs: Runs) -> list[str]:
    """The test accuracy; nothing where no run has been measured on one."""
    from experiments.tracking import queries

    return [name for name in [queries.ACCURACY] if name in queries.known_fields(runs)]


def _best(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.tracking import fields, queries, tables

    by = found.by or queries.ACCURACY
    if found.by is None and not _measured(runs):
        raise UserError("no run has a test accuracy; --by names another field")
    frame = queries.best(runs, by, found.where, found.count)
    sorted_by = fields.resolve(by.lstrip("+-"), frame.columns) if len(frame) else "id"
    if found.form == "table" and not len(frame):
        print("no run with a result meets the conditions")
    else:
        tables.show_frame(tables.usual(frame, found.form, sorted_by), found.form)


def _list(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.tracking import fields, queries, tables

    frame = queries.list_runs(runs, found.where, found.sort, found.last)
    if found.columns and len(frame):
        shown = frame[[fields.resolve(name.strip(), frame.columns) for name in found.columns.split(",")]]
    else:
        shown = tables.usual(frame, found.form)
    if found.form == "table" and not len(frame):
        print("no runs meet the conditions")
        return
    tables.show_frame(shown, found.form)
    if found.form == "table" and queries.ACCURACY in frame:
        groups = queries.by_fingerprint(runs, where=found.where)
        # Repeats of one seed say nothing new.
        seeds = groups["seeds"].map(len).groupby(groups["fingerprint_no_seed"]).transform("sum")
        same = groups[seeds > 1]
        same = same[same["ids"].map(lambda ids: bool(set(ids) & set(frame["id"])))]
        if len(same):
            print("\nthe same spec, over seeds and backends:")
            tables.show_frame(tables.grouped(same), found.form)


def _show(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.tracking import queries, tables

    tables.show_frame(queries.show(runs, found.run), found.form)
    tail = queries.find_run(runs, found.run).get("captured_out", "") if found.form == "table" else ""
    if tail:
        print("\noutput (its end):\n" + "\n".join(tail.splitlines()[-20:]))


def _curves(runs: Runs, found: argparse.Namespace) -> None:
    from experiments.tracking import plots, queries, tables

    ids = found.runs or queries.list_runs(runs, found.where)["id"].tolist()
    if not found.runs and not found.where:
        raise UserError("curves takes the IDs of runs, or --where FIELD=VALUE")
    frame = queries.curves(runs, ids, found.metric)
    if found.plot is not None or found.mean_over or found.label:
        labels = queries.labels(runs, ids, found.label, found.mean_over)
        draws = queries.values(runs, ids, found.mean_over) if found.mean_over else None
        frame = plots.averaged(frame, labels, draws) if found.mean_over else plots.labelled(frame, labels)
    if found.plot is not None:
        levels = queries.teacher_levels(runs, ids)
        plots.plot(frame if found.metric else plots.usual(frame), found.plot, found.log, levels)
        print(found.plot)
    elif found.form != "table":
        tables.show_frame(frame, found.form)
    elif len(frame):
        tables.show_frame(plots.wide(frame), found.form, index=True)
    else:
        print("these runs have no metrics")


def run(found: argparse.Namespace) -> int:
    """Answer a parsed command line."""
    from experiments.tracking import both, readers

    found.root = Path(found.dir or found_root()).absolute()
    # What is named may be a run of --journal-only; questions to all are answered by the database alone, which says
    # what it lacks.
    named = found.command == "watch" or getattr(found, "run", None) or getattr(found, "runs", None)
    opened = both.opened if named else readers.opened
    with opened(found.uri, found.journal_only, found.root) as runs:
        if found.command in ("list", "best", "groups") and not runs.latest({}, 1):
            _no_runs(found)
            return DONE
        if found.command != "rerun":
            return int(found.answer(runs, found) or DONE)
        from experiments.command import rerun

        stored = rerun.stored(runs, found.run, found.root, found.words)
    flags = [*(["-m", found.uri] if found.uri else []), *(["-J"] if found.journal_only else [])]
    return rerun.program(stored.made_by).again(stored, [*flags, *(["-d"] if found.debug else []), *found.words])


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one question; returns the exit code."""
    found = parse(arguments)
    return guarded("experiments.runs", lambda: run(found), found.debug)


if __name__ == "__main__":
    sys.exit(main())

"""Draw the paper's figures from your own runs: PNG, SVG and PDF, for light and dark pages, and the CSV behind them.

    python -m experiments.figures 4 --where data.name=digits
    python -m experiments.figures agreement --where data.name=glyphs --output pictures
    python -m experiments.figures --from docs/data/patience-digits.csv

{figures}
Drawn is whatever run meets --where and belongs to the figure: repeats of a spec and seed count once, and of several
specs for one curve the best on validation data is taken. `python -m experiments.study` trains what a figure shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command.exit import DONE, Parser, guarded
from experiments.db import add_address
from experiments.figures.catalog import FIGURES, find
from experiments.tracking.folders import found_root
from framework.errors import UserError, near

NAME = "experiments.figures"
FOLDER = "figures"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser.described(NAME, (__doc__ or "").format(figures=_listed()))
    add = parser.add_argument
    add("name", nargs="?", metavar="FIGURE", help="a number of the paper's or a name, see below")
    add("--where", action="append", default=[], metavar="FIELD=VALUE", help="as in experiments.runs; repeatable")
    add("--output", type=Path, metavar="FOLDER", help=f"where the files go ({FOLDER}; with --from: beside the CSV)")
    add("--from", dest="csv", type=Path, metavar="FILE.csv", help="draw it again from its numbers, without any run")
    add("--split", default="test", metavar="SPLIT", help="test or validation (test)")
    add("--length", type=float, metavar="EPOCHS", help="draw runs of this length, where a figure shows one alone")
    add_address(parser)
    add("-J", "--journal-only", action="store_true", help="read the journals, not a database")
    return parser.parse_args(arguments)


def _listed() -> str:
    lines = [
        f"  {figure.number:2s} {name:12s}{figure.title[0].lower()}{figure.title[1:]}"
        for name, figure in FIGURES.items()
    ]
    return "\n".join(["Figures:", *lines, ""])


def run(found: argparse.Namespace) -> int:
    """Draw what was asked for, and print the names of the files."""
    from experiments.figures import compose
    from experiments.tracking import both, queries, readers
    from experiments.tracking.fields import conditions

    if found.csv is not None:
        if found.name or found.where:
            raise UserError("--from takes all from the file: drop the figure's name and --where")
        print(*compose.again(found.csv, found.output), sep="\n")
        return DONE
    if not found.name:
        raise UserError(f"which figure? {', '.join(FIGURES)}; or --from FILE.csv (see --help)")
    if found.split not in compose.SPLITS:
        raise UserError(f"--split {found.split!r}: {near(found.split, compose.SPLITS)}")
    if found.output is not None and found.output.suffix in (".png", ".svg", ".pdf"):
        raise UserError(
            f"--output {found.output}: it is a folder, in which each figure is a .png, a .svg, a .pdf and a .csv"
        )
    output = found.output or Path(FOLDER)
    root = Path(found.dir or found_root()).absolute()
    met = f" that meet {' and '.join(found.where)}" if found.where else ""
    place = f"{readers.place(found.uri, found.journal_only, root)}{met}"
    wanted = compose.Request(find(found.name), output, _tell, found.split, found.length, place=place)
    with both.opened(found.uri, found.journal_only, root) as runs:
        known = queries.known_fields(runs)
        documents = runs.latest(conditions(found.where, known) if runs.latest({}, 1) else {})
        print(*compose.make(runs, documents, wanted), sep="\n")
    return DONE


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code."""
    found = parse(arguments)
    return guarded(NAME, lambda: run(found), found.debug)


if __name__ == "__main__":
    sys.exit(main())

"""Run a study of the paper: plan its runs, train those that are missing, and draw its figures.

    python -m experiments.study teaching with digits
    python -m experiments.study patience with digits --durations 1000,10000,100000 --seeds 0,1,2
    python -m experiments.study labels with data=./photos teacher=FOLDER --dry-run

{studies}
Learning rate and decay are chosen for each thing that is compared, on validation data, from the same grid; test data
choose nothing. Runs that are there already, whoever made them, are found by their fingerprints and not trained again.
After Ctrl-C or a crash the same command continues.

Exit codes: 0 done, 1 a fault, 2 a mistake in the command, 75 preempted (SIGTERM, SIGUSR1), 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command import stopping
from experiments.command.exit import DONE, FAULT, INTERRUPTED, PREEMPTED, Parser, add_debug, say
from experiments.distillation import early
from experiments.distillation.distillation import tell
from experiments.distributed import joining
from experiments.study import catalog, points
from experiments.study.session import Study
from framework.errors import UserError, near
from framework.loop.stop import Stop

NAME = "experiments.study"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    studies = [f"  {name:12s}{study.summary}" for name, study in catalog.STUDIES.items()]
    text = (__doc__ or "").format(studies="\n".join(["Studies:", *studies, ""]))
    parser = Parser.described(NAME, text, f"python -m {NAME} STUDY [with RECIPE... KEY=VALUE...] [options]")
    add = parser.add_argument
    add("words", nargs="*", metavar="STUDY with ...", help="what is compared, and what all runs have in common")
    add("--durations", metavar="N,N", help="in the recipe's unit, epochs or steps (the study's own: see --dry-run)")
    add("--seeds", default="0,1,2", metavar="N,N", help="which seeds (0,1,2); the grid is tried with the first")
    add(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V,V",
        help="what settings are chosen from; repeatable, or 'none' (3 learning rates and 3 decays around the recipe's)",
    )
    add("--domains", default="", metavar="DATA,DATA", help="other training images, for the study of domains")
    add("--dry-run", action="store_true", help="say how many runs and hours; nothing is trained")
    add("--output", type=Path, default=Path("figures"), metavar="FOLDER", help="where the figures go (figures)")
    add("--group-size", type=int, metavar="N", help="as in experiments.sweep")
    add("-m", "--mongo_db", metavar="ADDRESS", help="where to log, as in experiments.run")
    add("-J", "--journal-only", action="store_true", help="log to the runs' folders alone")
    add("-c", "--comment", metavar="TEXT", help="a comment, stored with each run")
    add_debug(parser)
    return parser.parse_intermixed_args(arguments)


def _request(options: argparse.Namespace) -> points.Request:
    if not options.words:
        raise UserError(f"which study? {', '.join(catalog.STUDIES)}; for example: teaching with digits")
    name, *rest = options.words
    if name not in catalog.STUDIES:
        raise UserError(f"no study {name!r}: {near(name, catalog.STUDIES)}")
    study = catalog.STUDIES[name]
    if rest and rest[0] != "with":
        raise UserError(f"unexpected {rest[0]!r}: write recipes and KEY=VALUE after 'with'")
    domains = [each for each in options.domains.split(",") if each]
    if domains and "data.train_from" not in study.varied:
        raise UserError(f"--domains {options.domains}: it is for the study of domains")
    return points.request(study, rest[1:], options.durations, options.seeds, options.grid, domains)


def run(options: argparse.Namespace, command: str, stop: Stop) -> int:
    """The command; returns its exit code."""
    early.add_working_folder()
    joining.refuse(NAME)
    study = Study(_request(options), options, command, stop)
    if options.dry_run:
        for line in study.planned():
            print(line)
        return DONE
    study.train()
    if stop.status is not None:
        tell(f"{stop.status}: the same command again continues: {command}")
        return PREEMPTED if stop.status == "PREEMPTED" else INTERRUPTED
    if study.problems:
        say(NAME, study.problems[-1])
    try:
        for path in study.draw():
            print(path)
    except UserError:
        # Nothing was trained to its end, and why is said already.
        if not study.problems:
            raise
    return FAULT if study.problems else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return stopping.main(NAME, parse, run, arguments)


if __name__ == "__main__":
    sys.exit(main())

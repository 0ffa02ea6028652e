"""Train many students on one teacher's pass: the teacher's forward pass and the data are computed once per step.

    python -m experiments.sweep over optimizer.lr=1e-3,3e-3 loss.temperature=1,2,5 with flowers_fast
    python -m experiments.sweep over init_seed=0,1,2,3 student.options.widths=[8,16],[16,32] with digits backend=jax
    python -m experiments.sweep with resume=latest

All combinations of the values are trained. Each student is a run of its own, equal to the run done alone. Students
share the teacher's pass where they differ in student, init_seed, optimizer, schedule, loss or duration; others (seed,
views, data, teacher, batch_size) make a group of their own, one after the other. When the loss is NaN or infinite, that
student ends alone. The best is picked by validation. resume= resumes a sweep; finished students are not trained again.

Exit codes: 0 done (students may have diverged, but not all), 1 a fault, 2 a mistake in the command, 75 preempted
(SIGTERM, SIGUSR1, SIGUSR2), 130 Ctrl-C or a closed terminal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.command import stopping
from experiments.command.exit import DONE, Parser, add_debug
from experiments.command.slurm import settings, submit
from experiments.distillation import early
from experiments.distributed import joining
from experiments.recipes import DEFAULT
from experiments.sweep import grid, groups, ledger, queued
from experiments.sweep.session import NAME, Session
from experiments.sweep.table import selected_by
from experiments.tracking.folders import default_root
from framework.errors import UserError, near
from framework.loop.stop import Stop

_WORDS = ("over", "with")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what follows `over` and `with` is left as words."""
    usage = f"python -m {NAME} over KEY=VALUE,VALUE... [with RECIPE... KEY=VALUE...] [options]"
    text = f"{__doc__}\nKeys and recipes: python -m experiments.run --help"
    parser = Parser.described(NAME, text, usage)
    add = parser.add_argument
    add("words", nargs="*", metavar="over ... with ...", help="what is swept, and what all students have in common")
    add("--select", metavar="BY", help="accuracy, kl, agreement or loss on validation data pick the best (accuracy)")
    add("--group-size", type=int, metavar="N", help="students trained at a time (as many as fit in memory, at most 32)")
    add("--dry-run", action="store_true", help="list the students and their groups; nothing is trained")
    add("-q", "--queue", action="store_true", help="store each group for python -m experiments.worker (docs/queues.md)")
    add("-x", "--slurm", metavar="KEY=VALUE,...", help="submit it to Slurm: time=MINUTES,partition=NAME,gpus=N,nodes=N")
    add("--json", metavar="FILE", help="write the results to FILE as well ('-': stdout)")
    add("--csv", metavar="FILE", help="write the table to FILE as well ('-': stdout)")
    add("-m", "--mongo_db", metavar="ADDRESS", help="where to log, as in experiments.run")
    add("-J", "--journal-only", action="store_true", help="log to the runs' folders alone")
    add("-c", "--comment", metavar="TEXT", help="a comment, stored with each run")
    add_debug(parser)
    return parser.parse_intermixed_args(arguments)


def sort_words(words: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """What follows `over`, what follows `with`, and the sweep that `resume=` names.

    Raises:
        UserError: words before either.
    """
    parts: dict[str, list[str]] = {name: [] for name in _WORDS}
    place: list[str] | None = None
    for word in words:
        if word in _WORDS:
            place = parts[word]
        elif place is None:
            hint = "" if "=" in word else f" ({near(word, _WORDS)})"
            raise UserError(f"unexpected {word!r}{hint}: write what is swept after 'over' and the rest after 'with'")
        else:
            place.append(word)
    resumed = [word.partition("=")[2] for word in parts["with"] if word.startswith("resume=")]
    rest = [word for word in parts["with"] if not word.startswith("resume=")]
    return parts["over"], rest, resumed[-1] if resumed else None


def _ledger(options: argparse.Namespace, command: str, root: Path) -> ledger.Ledger:
    over, words, resumed = sort_words(options.words)
    if resumed is None:
        made = [ledger.Entry(point) for point in grid.points(over, words, DEFAULT)]
        return ledger.Ledger(root, made, command, options.select)
    if over or words:
        given = " ".join([*over, *words])
        raise UserError(f"resume = {resumed!r} uses the stored sweep: drop {given}")
    found = ledger.read(resumed, root)
    found.select = options.select or found.select
    return found


def run(options: argparse.Namespace, command: str, stop: Stop) -> int:
    """The command; returns its exit code."""
    early.add_working_folder()
    joining.refuse(NAME)
    groups.check_size(options.group_size)
    selected_by(options.select, True)
    asked = None if options.slurm is None else settings(options.slurm)
    if options.queue:
        queued.check(options, sort_words(options.words)[2] is not None)
    session = Session(_ledger(options, command, default_root()), options, stop)
    if options.dry_run:
        for line in session.listed():
            print(line)
        return DONE
    if options.queue:
        return queued.queue(session, options)
    if asked is not None:
        return _submit(session, options, asked)
    session.train()
    ranking = session.ranking()
    if "-" not in (options.json, options.csv):
        ranking.show()
        print(session.closing(ranking.entries[0]))
    ranking.write(options.json, options.csv)
    return session.code()


def _submit(session: Session, options: argparse.Namespace, asked: Mapping[str, Any]) -> int:
    """Let Slurm train it, as it would be trained here."""
    queued.check_early(session)
    values = {"--select": options.select, "--group-size": options.group_size, "--json": options.json}
    values |= {"--csv": options.csv, "-m": options.mongo_db, "-c": options.comment}
    flags = [str(word) for name, value in values.items() if value is not None for word in (name, value)]
    flags += [name for name, value in {"-J": options.journal_only, "-d": options.debug}.items() if value]
    print(submit(asked, NAME, flags, options.words, session.ledger.root))
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return stopping.main(NAME, parse, run, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""A sweep in the queue: each group of students on one teacher's pass is one entry, which a worker trains as a whole."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.command import queueing, sacred_run
from experiments.command.exit import DONE
from experiments.command.stopping import stoppable
from experiments.distillation import early
from experiments.distillation.distillation import tell
from experiments.sweep import ledger
from experiments.sweep.grid import Point
from experiments.sweep.ledger import SWEEPS, Entry, Ledger
from experiments.sweep.session import NAME, Session
from experiments.tracking.claims import RESULT, Claim
from experiments.tracking.folders import check_root
from experiments.tracking.mongod import check_database, open_database
from experiments.tracking.values import plain
from framework.errors import UserError
from framework.files.arrays import write_text


def check(options: argparse.Namespace, is_resumed: bool) -> None:
    """Refuse what a queued sweep can't do.

    Raises:
        UserError: it names the option.
    """
    why = {"slurm": "its workers may be Slurm's", "journal_only": "a queue is in MongoDB"}
    for name in (*why, "json", "csv"):
        if getattr(options, name):
            told = why.get(name, "there are no results yet")
            raise UserError(f"--queue: {told}, leave --{name.replace('_', '-')} out")
    if is_resumed:
        raise UserError("--queue: a sweep is queued from its first step, leave resume= out")


def queue(session: Session, options: argparse.Namespace) -> int:
    """Store the groups of a sweep as entries of the queue; returns the exit code.

    Raises:
        UserError: as for runs that are trained at once; nothing is stored then.
    """
    made, root = session.ledger, session.ledger.root
    check_early(session)
    queueing.refuse_secrets([entry.point.config for entry in made.entries])
    check_database(options.mongo_db, False)
    with open_database(options.mongo_db, False, root, required=True) as destination:
        numbers = [_put(group, made, options, destination) for group in session.groups]
        runs = f"run{'s' if numbers[1:] else ''} {', '.join(map(str, numbers))}"
        many = f"{len(made.entries)} students in {len(numbers)} group{'s' if numbers[1:] else ''}"
        print(f"queued as {runs} in {destination.describe()}: sweep {made.uid}, {many}")
        print(f"{queueing.worker_command(destination)} trains them, a group at a time")
    return DONE


def check_early(session: Session) -> None:
    """Refuse what no machine could train.

    Raises:
        UserError: it says what is wrong.
    """
    for entry in session.left:
        spec, chosen = entry.point.checked
        early.check(spec, early.elsewhere(chosen))
    check_root(session.ledger.root)


def _put(group: Sequence[Entry], made: Ledger, options: argparse.Namespace, destination: Any) -> int | str:
    more = {
        "points": json.dumps([asdict(entry.point) for entry in group]),
        "students": len(group),
        "select": made.select,
        "group_size": options.group_size,
        "sweep": made.uid,
    }
    experiment = sacred_run.make(NAME)
    configs_of = [entry.point.config for entry in group]
    experiment.add_config({key: v for key, v in configs_of[0].items() if all(each[key] == v for each in configs_of)})
    flags = {"--queue": True, "--comment": options.comment}
    meta = {"named_configs": list(group[0].point.recipes), "config_updates": {}}
    place = queueing.Place(NAME, made.command, options.mongo_db, made.root, more)
    return queueing.put(experiment, configs_of[0], flags, meta, place, destination)


def attempt(claim: Claim, uri: str | None, root: Path) -> int:
    """Train a group that a worker has claimed, or go on with it; returns the exit code.

    Raises:
        UserError: it can't be trained here.
    """
    queue = claim.document["queue"]
    entries = _earlier(claim, root) or [Entry(Point(**each)) for each in json.loads(queue["points"])]
    made = Ledger(root, entries, queue["line"], queue["select"], claim.uid, queue["sweep"])
    comment = claim.document["meta"].get("comment")
    options = argparse.Namespace(mongo_db=uri, journal_only=False, comment=comment, group_size=queue["group_size"])
    with stoppable() as stop:
        session = Session(made, options, stop)
        session.train()
        if stop.status is None:
            _write(claim.folder / RESULT, session)
        return session.code()


def _earlier(claim: Claim, root: Path) -> Sequence[Entry] | None:
    """The students as the last attempt that began here left them; None where none did."""
    for folder in claim.earlier:
        kept = folder.parents[1] / SWEEPS / folder.name
        if folder.parents[1] == root and (kept / ledger.FILE).is_file():
            try:
                return ledger.read(str(kept), root).entries
            except UserError as error:
                tell(f"beginning again: {error}")
                return None
    return None


def _write(path: Path, session: Session) -> None:
    """What becomes of the entry in the queue."""
    ranking, fault = session.ranking(), session.fault()
    students = [
        {"student": each.point.label, "run": each.number or each.runs[-1:], "status": each.status, "told": each.told}
        for each in ranking.entries
    ]
    result = {"students": students, "best": students[0] if ranking.best else None, "selected_by": ranking.select}
    kept = {"status": "FAILED" if fault else "COMPLETED", "result": plain(result)}
    write_text(path, json.dumps(kept | ({"fail_trace": [fault]} if fault else {})))

"""How a sweep ends: its exit code, and what is said of it."""

from __future__ import annotations

from experiments.command.exit import DONE, FAULT, INTERRUPTED, PREEMPTED, say
from experiments.distillation.distillation import tell
from experiments.sweep import ledger
from experiments.sweep.session import Session
from framework.loop.stop import Stop

NAME = "experiments.sweep"


def code(session: Session, stop: Stop) -> int:
    """The exit code of a sweep that was trained, or asked to end; says how it is resumed, or what was wrong."""
    if stop.status is not None:
        uid = session.ledger.uid
        tell(f"{stop.status}: to resume: python -m experiments.sweep{session.flag} with resume={uid}")
        return PREEMPTED if stop.status == "PREEMPTED" else INTERRUPTED
    if told := fault(session):
        say(NAME, told)
        return FAULT
    return DONE


def fault(session: Session) -> str:
    """What has gone wrong, in a line; nothing where nothing has. Students may have diverged, but not all."""
    statuses = [entry.status for entry in session.ledger.entries]
    faults = [entry for entry in session.ledger.entries if entry.status not in ("COMPLETED", ledger.DIVERGED)]
    return session.fault(faults) if faults or session.problems or "COMPLETED" not in statuses else ""

"""Runs that still say RUNNING in the database, and whose process is gone: they are marked as DEAD, or queued again."""

from __future__ import annotations

import platform
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from experiments.tracking.claims import give_back_gone
from experiments.tracking.documents import moment
from experiments.tracking.journal import is_alive
from experiments.tracking.pieces import JOURNAL
from experiments.tracking.publisher import BEAT_S, replay
from experiments.tracking.values import Mongo

# A heart that has not beaten for so many seconds.
SILENT_S = 12 * BEAT_S
_FIELDS = {"uid": 1, "heartbeat": 1, "host.hostname": 1, "journal.folder": 1}


def mark_dead(database: Mongo) -> list[int]:
    """Find them, bring in what their journals have beside, and mark them.

    A process is gone where nobody holds the lock on its journal. On its own machine that is certain at once; what is
    seen from another one, through a shared folder, counts when the heartbeat is too old as well. A run whose folder is
    not here is marked only on its own machine: elsewhere nobody can tell it from one that is cut off from the database.
    A run that a worker had taken from the queue is given back to it instead.

    Returns:
        The numbers of the runs that were RUNNING and are not any more.

    Raises:
        pymongo.errors.PyMongoError: the database can't be reached, or refuses.
    """
    marked = give_back_gone(database)
    own = {"status": "RUNNING", "uid": {"$exists": True}, "queue": {"$exists": False}}
    for document in list(database.runs.find(own, _FIELDS)):
        folder = Path((document.get("journal") or {}).get("folder") or "nowhere")
        here = (folder / JOURNAL).is_file()
        is_own = (document.get("host") or {}).get("hostname") == platform.node()
        is_silent = _silence(document.get("heartbeat")) > SILENT_S
        if here and (is_own or is_silent) and not is_alive(folder):
            replay(folder, database)
        elif not here and is_own and is_silent:
            ended = {"status": "DEAD", "stop_time": document.get("heartbeat")}
            database.runs.update_one({"_id": document["_id"], "status": "RUNNING"}, {"$set": ended})
        else:
            continue
        marked.append(document["_id"])
    return marked


def liveness(status: str, heartbeat: Any) -> str:
    """A run of another machine that says RUNNING and hasn't been heard of for a while: nobody here knows more."""
    silent = _silence(heartbeat)
    return f"RUNNING? (silent for {silent / 60:.0f} min)" if status == "RUNNING" and silent > SILENT_S else status


def _silence(heartbeat: Any) -> float:
    """Seconds since a heartbeat; 0 for what is none."""
    return (moment(time.time()) - heartbeat) / timedelta(seconds=1) if isinstance(heartbeat, datetime) else 0.0

"""Runs that still say RUNNING in the database, and whose process is gone: they are marked as DEAD, or queued again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from experiments.tracking.claims import give_back_gone
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
        if here and (_is_own(document) or _is_silent(document)) and not is_alive(folder):
            replay(folder, database)
        elif not here and _is_own(document) and _is_silent(document):
            ended = {"status": "DEAD", "stop_time": document.get("heartbeat")}
            database.runs.update_one({"_id": document["_id"], "status": "RUNNING"}, {"$set": ended})
        else:
            continue
        marked.append(document["_id"])
    return marked


def silence(heartbeat: Any) -> float:
    """Seconds since a heartbeat; 0 for what is none."""
    if not isinstance(heartbeat, datetime):
        return 0.0
    return (datetime.now(UTC).replace(tzinfo=None) - heartbeat) / timedelta(seconds=1)


def _is_own(document: Mapping[str, Any]) -> bool:
    return bool((document.get("host") or {}).get("hostname") == platform.node())


def _is_silent(document: Mapping[str, Any]) -> bool:
    return silence(document.get("heartbeat")) > SILENT_S

"""The queue: runs that wait in a database, the claims of workers on them, and claims whose worker is gone.

A run's document has `queue.claim`: the uid of the attempt that is at work on it, or an empty text. Each write of an
attempt demands in the same operation that its claim still stands: who has lost it changes nothing any more.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo import ReturnDocument

from experiments.tracking import locks
from experiments.tracking.documents import LAYOUT, moment, nothing_yet
from experiments.tracking.pieces import JOURNAL
from experiments.tracking.publisher import BEAT_S, insert_run, replay
from experiments.tracking.values import Mongo, bson_safe
from framework.errors import UserError

Document = dict[str, Any]

# A claim without a heartbeat for so many seconds is given back.
LOST_S = 12 * BEAT_S
NOBODY = ""
# Held by a worker and by the process of its run: a claim lives as long as one of them.
LOCK = "claim.lock"
# In the folder of an attempt without a journal, a sweep's: as what it ended, which its worker writes down.
RESULT = "result.json"
# How the document of a run says that it has not come to an end of its own.
OPEN = ("RUNNING", "PREEMPTED", "INTERRUPTED", "DEAD")
# What an attempt wrote down about where it began, which is not true of the next one.
_OF_ATTEMPT = ("resumed_from", "resumed_at", "resumed_folder", "root_run", "passed_over", "resumed_anyway")
_CLAIMED = {"queue.claim": {"$nin": [None, NOBODY]}, "status": {"$in": list(OPEN)}}


def put(
    database: Mongo, fields: Mapping[str, Any], queue: Mapping[str, Any], wanted: int | str | None = None
) -> int | str:
    """Store a run that waits.

    Args:
        fields: of its document, plain values.
        queue: what a worker must know beside.
        wanted: the run's id; None takes the next free number.

    Returns:
        The run's number, or what it is called.

    Raises:
        pymongo.errors.PyMongoError: the database can't be reached, or refuses.
    """
    document = {
        "format": LAYOUT,
        "status": "QUEUED",
        **nothing_yet(),
        **bson_safe(dict(fields)),
        "queue": {"claim": NOBODY, "attempts": [], "killed": 0, "at": _now(), **bson_safe(dict(queue))},
    }
    return insert_run(database, document, wanted)


@dataclass(frozen=True)
class Claim:
    """An attempt at a queued run, with the run's document as it was when it was read."""

    database: Mongo
    document: Document

    @property
    def number(self) -> int | str:
        """The run's number, the same in all attempts."""
        number: int | str = self.document["_id"]
        return number

    @property
    def uid(self) -> str:
        """The attempt's."""
        return str(self.document["queue"]["claim"])

    @property
    def folder(self) -> Path:
        """The attempt's, on the machine of its worker."""
        return Path(self.document["queue"]["attempts"][-1]["folder"])

    @property
    def earlier(self) -> list[Path]:
        """The folders of the attempts before, the latest first."""
        return [Path(each["folder"]) for each in reversed(self.document["queue"]["attempts"][:-1])]

    def beat(self) -> bool:
        """Say that it is alive; False where the claim is lost."""
        return self._set({}, heartbeat=_now())

    def status(self) -> str | None:
        """As what the run stands in the database; None where the claim is lost."""
        found = self.database.runs.find_one(self._mine, {"status": 1})
        return None if found is None else str(found["status"])

    def end(self, status: str, **fields: Any) -> bool:
        """Write down how it ended; False where it had ended, or the claim is lost."""
        return self._set({"status": {"$in": list(OPEN)}}, status=status, stop_time=_now(), **bson_safe(fields))

    def killed(self) -> int:
        """Count a process that was killed, and say how often that has happened to this run."""
        found = self.database.runs.find_one_and_update(
            self._mine, {"$inc": {"queue.killed": 1}}, return_document=ReturnDocument.AFTER
        )
        return int(found["queue"]["killed"]) if found else 0

    def give_back(self) -> bool:
        """Put the run back into the queue; False where it has ended, or another has done it: it happens once."""
        document = self.database.runs.find_one(self._mine)
        if document is None:
            return False
        began = {f"queue.attempts.$[mine].{name}": document[name] for name in _OF_ATTEMPT if name in document}
        changes = {
            "$set": {"status": "QUEUED", "queue.claim": NOBODY, "queue.attempts.$[mine].given_back": _now(), **began},
            "$unset": dict.fromkeys((*_OF_ATTEMPT, "stop_time"), ""),
        }
        filters = [{"mine.uid": self.uid}]
        wanted = {**self._mine, "status": {"$in": list(OPEN)}}
        return bool(self.database.runs.update_one(wanted, changes, array_filters=filters).modified_count)

    def recover(self) -> str | None:
        """What is to be done once its processes are gone: bring in what its journal has, and give it back.

        Returns:
            QUEUED, or as what the run has ended after all; None where another has done it.
        """
        if (self.folder / JOURNAL).is_file():
            replay(self.folder, self.database)
        if self.give_back():
            return "QUEUED"
        return self.status()

    @property
    def _mine(self) -> Document:
        return {"_id": self.number, "queue.claim": self.uid}

    def _set(self, where: Mapping[str, Any], **fields: Any) -> bool:
        return bool(self.database.runs.update_one({**self._mine, **where}, {"$set": fields}).matched_count)


def claim(database: Mongo, where: Mapping[str, Any], folder: Path) -> Claim | None:
    """Take the oldest of the runs that wait, those of the highest priority first; None where there is none.

    Args:
        where: a filter of MongoDB's that it must meet.
        folder: of the attempt; its name is the uid. The caller holds the lock in it.
    """
    worker = {"host": platform.node(), "pid": os.getpid()}
    attempt = {"uid": folder.name, "folder": str(folder), "claimed": _now(), **worker}
    changes = {
        "status": "RUNNING",
        "uid": folder.name,
        "heartbeat": _now(),
        "host.hostname": worker["host"],
        "journal": {"bytes": 0, "folder": str(folder)},
        "queue.claim": folder.name,
    }
    found = database.runs.find_one_and_update(
        {"$and": [{"status": "QUEUED", "queue.claim": NOBODY}, dict(where)]},
        {"$set": changes, "$push": {"queue.attempts": attempt}},
        sort=[("queue.priority", -1), ("queue.at", 1), ("_id", 1)],
        return_document=ReturnDocument.AFTER,
    )
    return None if found is None else Claim(database, found)


def cancel(database: Mongo, number: int | str) -> str | None:
    """Take a run that waits out of the queue; returns None, or as what it stands where it doesn't wait.

    Raises:
        UserError: there is no such run.
    """
    changes = {"$set": {"status": "INTERRUPTED", "stop_time": _now(), "queue.cancelled": _now()}}
    if database.runs.update_one({"_id": number, "status": "QUEUED", "queue.claim": NOBODY}, changes).modified_count:
        return None
    found = database.runs.find_one({"_id": number}, {"status": 1})
    if found is None:
        raise UserError(f"there is no run {number}")
    return str(found["status"])


def of(database: Mongo, uid: str) -> Claim | None:
    """The claim of an attempt; None where it is lost."""
    found = database.runs.find_one({"queue.claim": uid})
    return None if found is None else Claim(database, found)


def waiting(database: Mongo, where: Mapping[str, Any]) -> int:
    return int(database.runs.count_documents({"$and": [{"status": "QUEUED", "queue.claim": NOBODY}, dict(where)]}))


def is_gone(document: Mapping[str, Any]) -> bool:
    """Whether worker and run have ended for certain: on this machine, where nobody holds the lock of the claim."""
    attempt = document["queue"]["attempts"][-1]
    lock = Path(attempt["folder"]) / LOCK
    return attempt["host"] == platform.node() and locks.AVAILABLE and lock.exists() and not locks.is_locked(lock)


def claimed(database: Mongo) -> list[Claim]:
    """The attempts that are under way, as far as the database knows."""
    return [Claim(database, document) for document in database.runs.find(_CLAIMED)]


def give_back_gone(database: Mongo) -> list[int]:
    """Give back what is certainly nobody's any more; returns the numbers of the runs that wait again."""
    gone = [each for each in claimed(database) if is_gone(each.document)]
    return [each.number for each in gone if each.recover() == "QUEUED"]  # type: ignore[misc]


class Watch:
    """Sees which claims have had no heartbeat for `lost_s` seconds, by its own clock: those of others may be wrong.

    What it can't see, while the database is away, doesn't count.
    """

    def __init__(self, lost_s: float = LOST_S) -> None:
        self._lost_s = lost_s
        self._seen: dict[str, tuple[Any, float]] = {}

    def blink(self) -> None:
        """Forget what was seen: the database was away, and no heartbeat can have come."""
        self._seen.clear()

    def lost(self, database: Mongo) -> list[Claim]:
        """Those that are to be recovered."""
        now, before, found = time.monotonic(), self._seen, claimed(database)
        self._seen = {}
        for each in found:
            beat = each.document["heartbeat"]
            old, since = before.get(each.uid, (beat, now))
            self._seen[each.uid] = (beat, since if beat == old else now)
        return [each for each in found if is_gone(each.document) or now - self._seen[each.uid][1] > self._lost_s]


def _now() -> datetime:
    return moment(time.time())

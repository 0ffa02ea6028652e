"""Brings a journal into a database, idempotently: any part of it may be done twice, or by another process later."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymongo
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from experiments.tracking import files
from experiments.tracking.documents import RunDocument, Series, moment
from experiments.tracking.journal import JournalReader, is_alive
from experiments.tracking.values import Mongo

BATCH_BYTES = 2 * 2**20
BEAT_S = 10.0


def create_indexes(database: Mongo) -> None:
    """Make the indexes that queries and the writing itself rely on; nothing happens when they exist."""
    runs = database.runs
    runs.create_index("uid", unique=True, partialFilterExpression={"uid": {"$exists": True}}, name="uid_unique")
    for field in ("start_time", "status", "fingerprint", "fingerprint_no_seed", "config.backend"):
        runs.create_index(field)
    database.metrics.create_index([("run_id", 1), ("name", 1)])
    database.metric_chunks.create_index([("uid", 1), ("name", 1), ("chunk", 1)])
    database["fs.files"].create_index("metadata.md5", sparse=True)
    # As GridFS makes them with its first file.
    database["fs.files"].create_index([("filename", 1), ("uploadDate", 1)])
    database["fs.chunks"].create_index([("files_id", 1), ("n", 1)], unique=True)


class Publisher:
    """Reads one run's journal on and writes what is new. Not thread-safe: its user holds a lock.

    Attributes:
        number: Sacred's number of the run, or the name that its user gave it; None until the database has it.
        superseded: whether the run was queued and is another attempt's by now, so that nothing more is written.
    """

    def __init__(self, folder: Path, database: Mongo) -> None:
        self._folder, self._database = folder, database
        self.superseded = False
        self._restart()

    def _restart(self) -> None:
        self.number: int | str | None = None
        self._reader = JournalReader(self._folder)
        self._document = RunDocument(self._folder.name)
        self._series: dict[str, Series] = {}
        self._uploads = files.Uploads(self._database, self._folder)
        self._sources_done = False
        self._label = ""
        self._unwritten = False
        self._beat = -BEAT_S

    def push(self, status: str | None = None) -> bool:
        """Write what is pending, after reading the next part of the journal where nothing was.

        Args:
            status: what to write instead of RUNNING for a run that never ended.

        Returns:
            Whether the journal has been written to its present end.

        Raises:
            pymongo.errors.PyMongoError: the database can't be reached; calling again continues.
        """
        if self.superseded:
            return True
        at_end = False
        if not self._unwritten:
            before = self._reader.offset
            self._read()
            at_end = self._reader.offset == before
        if status is not None and at_end and not self._document.ended:
            self._document.set(status=status, stop_time=moment(self._document.last_time))
        if at_end and not self._document.changed and time.monotonic() - self._beat < BEAT_S:
            return True
        return self._write(alive=status is None) and at_end

    def _read(self) -> None:
        for record in self._reader.read(BATCH_BYTES):
            self._unwritten = True
            if record["type"] == "metrics":
                self._add_points(record)
            else:
                self._document.fold(record)

    def _add_points(self, record: dict[str, Any]) -> None:
        self._document.last_time = record["time"]
        for name, value in record["values"].items():
            if name not in self._series:
                self._series[name] = Series(self._folder.name, name)
                self._document.add_metric(name, self._series[name].preview_id)
            self._series[name].add(record["step"], value, record["time"])

    def _write(self, alive: bool) -> bool:
        self._ensure_run()
        if self.superseded:
            return True
        self._upload()
        self._document.set(captured_out=files.output_tail(self._folder))
        self._write_series()
        beat = moment(time.time() if alive else self._document.last_time)
        changed = {name: self._document.fields[name] for name in self._document.changed}
        read = {"bytes": self._reader.offset, "damaged": self._reader.damaged, "folder": str(self._folder)}
        changed |= {"heartbeat": beat, "journal": read}
        # A queued run is that of the attempt that has claimed it; others have no claim.
        mine = {"_id": self.number, "uid": self._folder.name, "queue.claim": {"$in": [None, self._folder.name]}}
        if not self._database.runs.update_one(mine, {"$set": changed}).matched_count:
            self._restart()  # the document, or the whole database, is gone: everything is written again
            return False
        self._document.changed.clear()
        self._unwritten = False
        self._beat = time.monotonic()
        return True

    def _upload(self) -> None:
        if self._document.artifacts:
            self._document.set(artifacts=self._uploads.artifacts(self._label, self._document.artifacts))
        experiment = self._document.fields["experiment"]
        if not self._sources_done and experiment.get("sources"):
            stored = self._uploads.sources(experiment.get("base_dir", ""), experiment["sources"])
            self._document.set(experiment={**experiment, "sources": stored})
            self._sources_done = True

    def _write_series(self) -> None:
        dirty = [series for series in self._series.values() if series.dirty]
        chunks = [chunk for series in dirty for chunk in series.chunks()]
        _replace(self._database.metric_chunks, [{**chunk, "run_id": self.number} for chunk in chunks])
        _replace(self._database.metrics, [series.preview_document(self.number) for series in dirty])
        for series in dirty:
            series.written()

    def _ensure_run(self) -> None:
        """Find the run by its uid, or insert it as its user wants it called, else under the next free number."""
        if self.number is not None:
            return
        uid = self._folder.name
        found = self._database.runs.find_one({"$or": [{"uid": uid}, {"queue.attempts.uid": uid}]}, {"queue.claim": 1})
        if found is None:
            self.number = insert_run(self._database, self._document.fields, self._document.wanted_id)
        else:
            self.superseded = found.get("queue", {}).get("claim", uid) != uid
            self.number = found["_id"]
        # The files of one attempt at a queued run take no other's place.
        self._label = f"{self.number}/{uid}" if found and "queue" in found else str(self.number)


def insert_run(database: Mongo, fields: Mapping[str, Any], wanted: int | str | None) -> int | str:
    """Insert a run's document as its user wants it called, else under the next free number.

    Simultaneous runs take turns; of one with a uid that is there already, the number is returned.
    """
    runs = database.runs
    while True:
        last = runs.find_one({"_id": {"$type": "number"}}, {"_id": 1}, sort=[("_id", pymongo.DESCENDING)])
        number = wanted if wanted is not None else int(last["_id"]) + 1 if last else 1
        wanted = None
        try:
            runs.insert_one({"_id": number, **fields})
        except DuplicateKeyError:
            found = runs.find_one({"uid": fields["uid"]}, {"_id": 1}) if "uid" in fields else None
            if found is None:
                continue
            number = found["_id"]
        return number


def _replace(collection: Collection[dict[str, Any]], documents: list[dict[str, Any]]) -> None:
    if documents:
        writes = [ReplaceOne({"_id": document["_id"]}, document, upsert=True) for document in documents]
        collection.bulk_write(writes, ordered=False)


def replay(folder: Path, database: Mongo, force: bool = False) -> str:
    """Bring one journaled run into the database.

    Args:
        force: write it again even if the database has it to the journal's last byte.

    Returns:
        `"written"`, `"present"` (nothing to do) or `"running"` (its own process does it).

    Raises:
        pymongo.errors.PyMongoError: the database can't be reached, or refuses.
    """
    if is_alive(folder):
        return "running"
    found = database.runs.find_one({"uid": folder.name}, {"journal": 1, "status": 1})
    if found is not None and not force and _complete(found, folder):
        return "present"
    publisher = Publisher(folder, database)
    while not publisher.push(status="DEAD"):
        pass
    return "present" if publisher.superseded else "written"


def _complete(document: Mapping[str, Any], folder: Path) -> bool:
    before = int(document.get("journal", {}).get("bytes", 0))
    reader = JournalReader(folder, before)
    reader.read(1)
    return reader.offset == before and document["status"] != "RUNNING"

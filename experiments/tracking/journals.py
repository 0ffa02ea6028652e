"""Runs read from their journals, where there is no database: the same documents, without Sacred's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from experiments.tracking import files
from experiments.tracking.documents import RunDocument, moment
from experiments.tracking.fields import matches
from experiments.tracking.journal import JournalReader, is_alive, last_records, run_folders
from experiments.tracking.source import FEW, Document, Points, listed, points

# How the lines begin that nearly all of a journal consists of, and that lists don't need.
_METRICS = b'{"type": "metrics"'


class InJournals:
    """The runs in a folder; what a run is called is its uid. Read once, when first asked for.

    Args:
        root: the folder of runs, `.experiments`.
    """

    def __init__(self, root: Path) -> None:
        self._folders = {folder.name: folder for folder in run_folders(root)}
        self._series = cache(_series)

    @cached_property
    def _documents(self) -> list[Document]:
        """The latest first."""
        documents = [document for folder in self._folders.values() if (document := _document(folder))]
        return sorted(documents, key=lambda document: (document.get("start_time", datetime.min), document["uid"]))[::-1]

    def latest(self, where: Mapping[str, Any], count: int | None = None) -> list[Document]:
        """See `Runs`."""
        return [listed(document) for document in self._documents if matches(document, where)][:count]

    def named(self, text: str) -> list[Document]:
        """See `Runs`."""
        uids = [uid for uid in self._folders if uid == text] or [uid for uid in self._folders if uid.startswith(text)]
        found = [_document(self._folders[uid], whole=True) for uid in uids[:FEW]] if text else []
        return [document for document in found if document is not None]

    def beside(self, field: str, value: str, known: Iterable[str | None]) -> Document | None:
        """See `Runs`."""
        uids = set(known)
        found = [each for each in self._documents if each.get(field) == value and each["uid"] not in uids]
        return max(found, key=lambda document: str(document["uid"]), default=None)

    def metrics(self, uids: Iterable[str | None]) -> list[str]:
        """See `Runs`."""
        return sorted({name for uid in uids if uid in self._folders for name in self._series(self._folders[uid])})

    def points(self, uid: str | None, metric: str) -> Points:
        """See `Runs`."""
        series = self._series(self._folders[uid]) if uid in self._folders else {}
        return series.get(metric, points([], [], []))


def _document(folder: Path, whole: bool = False) -> Document | None:
    """A run's document without the metrics' points; None for a folder that can't be read."""
    try:
        run, alive, tail = RunDocument(folder.name), is_alive(folder), last_records(folder)
        for record in JournalReader(folder, but=_METRICS).rest():
            run.fold(record)
    except OSError:
        return None
    last = moment(tail[-1]["time"]) if tail else None
    # As in a replay: what has no end and no process is dead.
    ended = {} if run.ended or alive else {"status": "DEAD", "stop_time": last}
    document = {"_id": folder.name, **run.fields, "heartbeat": last, "journal": {"folder": str(folder)}, **ended}
    if whole:
        info = document["info"] | {"metrics": [{"name": name} for name in sorted(_series(folder))]}
        document |= {"captured_out": files.output_tail(folder), "info": info}
    return document


def _series(folder: Path) -> dict[str, Points]:
    """All metrics of a run."""
    found: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for record in JournalReader(folder).rest():
        for name, value in record["values"].items() if record["type"] == "metrics" else ():
            steps, values, times = found.setdefault(name, ([], [], []))
            steps.append(record["step"])
            values.append(value)
            times.append(record["time"])
    return {name: points(*lists) for name, lists in found.items()}

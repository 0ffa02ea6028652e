"""Runs read from their journals, where there is no database: the same documents, without Sacred's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from experiments.tracking import files
from experiments.tracking.documents import RunDocument, Thinned, moment
from experiments.tracking.fields import matches
from experiments.tracking.folders import is_number, run_folders
from experiments.tracking.journal import JournalReader, is_alive, last_time, verified
from experiments.tracking.snapshot import Store
from experiments.tracking.source import FEW, Captured, Document, Points, Runs, listed, points

# How the lines begin that nearly all of a journal consists of, and that lists don't need.
METRICS = b'{"type": "metrics"'
# What most of those lines have.
_TRAINING = b'"values": {"train.'


class InJournals(Runs):
    """The runs in a folder, `.experiments`; what a run is called is its uid. Read once, when first asked for."""

    def __init__(self, root: Path) -> None:
        self._store = Store(root)
        self._folders = {folder.name: folder for folder in run_folders(root)}
        self._series = cache(_series)

    @cached_property
    def _documents(self) -> list[Document]:
        """The latest first."""
        documents = [document for folder in self._folders.values() if (document := _document(folder))]
        return sorted(documents, key=lambda document: (document.get("start_time", datetime.min), document["uid"]))[::-1]

    def latest(self, where: Mapping[str, Any], count: int | None = None, also: Sequence[str] = ()) -> list[Document]:
        return [listed(document, also) for document in self._documents if matches(document, where)][:count]

    def named(self, text: str) -> list[Document]:
        begins = [] if is_number(text) else [uid for uid in self._folders if uid.startswith(text)]
        uids = [text] if text in self._folders else begins
        # As `--id` calls them in a database.
        uids = uids or [each["uid"] for each in self._documents if str(each["journal"].get("id")) == text]
        found = [_document(self._folders[uid], whole=True) for uid in uids[:FEW]] if text else []
        return [document for document in found if document is not None]

    def beside(self, field: str, value: str, known: Iterable[str | None]) -> Document | None:
        uids = set(known)
        found = [each for each in self._documents if each.get(field) == value and each["uid"] not in uids]
        return max(found, key=lambda document: str(document["uid"]), default=None)

    def metrics(self, uids: Iterable[str | None]) -> list[str]:
        return sorted({name for uid in uids if uid in self._folders for name in self._series(self._folders[uid])})

    def points(self, uid: str | None, metric: str) -> Points:
        series = self._series(self._folders[uid]) if uid in self._folders else {}
        return series.get(metric, points([], [], []))

    def thinned(self, documents: Sequence[Document], count: int) -> dict[Any, dict[str, Points]]:
        folders = {each["_id"]: self._folders.get(each.get("uid", "")) for each in documents}
        return {run: _thinned(folder, count) if folder else {} for run, folder in folders.items()}

    def file(self, document: Document, name: str) -> bytes | None:
        return files.kept(document, name)

    def sources(self, document: Document) -> dict[str, Captured]:
        experiment = document.get("experiment") or {}
        base = Path(experiment.get("base_dir") or "")
        pairs = experiment.get("sources") or []
        return {name: Captured(md5, partial(self._store.find, md5, base / name)) for name, md5 in pairs}


def _document(folder: Path, whole: bool = False) -> Document | None:
    """A run's document without the metrics' points; None for a folder that can't be read."""
    try:
        run, alive, tail = RunDocument(folder.name), is_alive(folder), last_time(folder)
        reader = JournalReader(folder) if whole else JournalReader(folder, but=METRICS)
        for record in reader.rest():
            run.fold(record)
    except OSError:
        return None
    last = moment(tail) if tail is not None else None
    # As in a replay: what has no end and no process is dead.
    place = {"folder": str(folder), "damaged": reader.damaged} | (
        {} if run.wanted_id is None else {"id": run.wanted_id}
    )
    ended = {} if run.ended or alive else {"status": "DEAD", "stop_time": last}
    document = {"_id": folder.name, **run.fields, "heartbeat": last, "journal": place, **ended}
    if whole:
        info = document["info"] | {"metrics": [{"name": name} for name in sorted(_series(folder))]}
        document |= {"captured_out": files.output_tail(folder), "info": info}
    return document


def _series(folder: Path) -> dict[str, Points]:
    """All metrics of a run."""
    return _by_name(record for record in JournalReader(folder).rest() if record["type"] == "metrics")


def _thinned(folder: Path, count: int) -> dict[str, Points]:
    """The same with few points."""
    few, reader = FewMetrics(count), JournalReader(folder)
    while data := reader.lines():
        few.add(data)
    return few.series()


class FewMetrics:
    """The metrics of journal lines as they come, `count` points each or less: only lines that are kept are parsed."""

    def __init__(self, count: int) -> None:
        # Beside the training's many lines, the evaluations' few are kept as long as they can be.
        self._kept: tuple[Thinned[bytes], Thinned[bytes]] = (Thinned(count), Thinned(count))

    def add(self, data: bytes) -> None:
        """Take whole lines in, of any kind."""
        for line in data.split(b"\n"):
            if line.startswith(METRICS):
                self._kept[_TRAINING in line].add(line)

    def series(self) -> dict[str, Points]:
        return _by_name(record for kept in self._kept for line in kept.items() if (record := verified(line)))


def _by_name(records: Iterable[Mapping[str, Any]]) -> dict[str, Points]:
    found: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for record in records:
        for name, value in record["values"].items():
            steps, values, times = found.setdefault(name, ([], [], []))
            steps.append(record["step"])
            values.append(value)
            times.append(record["time"])
    return {name: points(*lists) for name, lists in found.items()}

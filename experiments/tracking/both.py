"""Runs of a database and of the journals beside it, as one: what was run without the database counts too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.tracking import readers
from experiments.tracking.folders import run_folders
from experiments.tracking.journals import InJournals
from experiments.tracking.source import Captured, Document, Points, Runs


class Both(Runs):
    """Answers from the first, a database, and from the second, journals, for the runs that it doesn't have."""

    def __init__(self, first: Runs, second: Runs) -> None:
        self._first, self._second = first, second

    @cached_property
    def _known(self) -> set[str | None]:
        """The uids of the database."""
        documents = self._first.latest({}, also=("queue.attempts",))
        tries = [each for document in documents for each in (document.get("queue") or {}).get("attempts", ())]
        return {document.get("uid") for document in documents} | {each["uid"] for each in tries}

    def latest(self, where: Mapping[str, Any], count: int | None = None, also: Sequence[str] = ()) -> list[Document]:
        others = [document for document in self._second.latest(where, also=also) if document["uid"] not in self._known]
        found = [*self._first.latest(where, None if others else count, also), *others]
        return sorted(found, key=lambda document: document.get("start_time") or datetime.max, reverse=True)[:count]

    def named(self, text: str) -> list[Document]:
        return self._first.named(text) or self._second.named(text)

    def beside(self, field: str, value: str, known: Iterable[str | None]) -> Document | None:
        uids = list(known)
        return self._first.beside(field, value, uids) or self._second.beside(field, value, uids)

    def metrics(self, uids: Iterable[str | None]) -> list[str]:
        wanted = list(uids)
        return sorted(
            {*self._first.metrics(wanted), *self._second.metrics([u for u in wanted if u not in self._known])}
        )

    def points(self, uid: str | None, metric: str) -> Points:
        return self._having(uid).points(uid, metric)

    def thinned(self, documents: Sequence[Document], count: int) -> dict[Any, dict[str, Points]]:
        apart = [
            [each for each in documents if self._having(each.get("uid")) is one] for one in (self._first, self._second)
        ]
        return self._first.thinned(apart[0], count) | self._second.thinned(apart[1], count)

    def file(self, document: Document, name: str) -> bytes | None:
        return self._having(document.get("uid")).file(document, name)

    def sources(self, document: Document) -> dict[str, Captured]:
        return self._having(document.get("uid")).sources(document)

    def _having(self, uid: str | None) -> Runs:
        return self._first if uid in self._known else self._second


@contextmanager
def opened(uri: str | None, journal_only: bool, root: Path) -> Iterator[Runs]:
    """All runs there are; arguments and errors as in `readers.opened`."""
    with readers.opened(uri, journal_only, root) as runs:
        if isinstance(runs, InJournals) or not run_folders(root):
            yield runs
        else:
            yield Both(runs, InJournals(root))

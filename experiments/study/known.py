"""Which runs of a study there are already: finished, under way, or cut short; found by their fingerprints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from experiments.config import recipe_spec
from experiments.distillation import lineage, naming, sources
from experiments.figures.selection import spec_of
from experiments.tracking.folders import RUNS
from experiments.tracking.source import Document, Runs
from framework.files import download, stored
from framework.spec import DistillSpec, TeacherSpec

State = Literal["finished", "diverged", "running", "begun", "missing"]


@dataclass(frozen=True)
class Found:
    """What there is of a run, and its document; one that has begun was cut short and can go on."""

    state: State
    document: Document = field(default_factory=dict)


MISSING = Found("missing")


class Known:
    """The runs there are.

    Args:
        runs: all of them.
        root: the folder of runs and caches.
    """

    def __init__(self, runs: Runs, root: Path) -> None:
        self._runs, self._root = runs, root
        self._documents = runs.latest({})
        self._by_fingerprint: dict[str, list[Document]] = defaultdict(list)
        for document in self._documents:
            self._by_fingerprint[str(document.get("fingerprint"))].append(document)

    def find(self, spec: DistillSpec) -> Found:
        """What there is of a run of this spec, on whatever backend; the latest first."""
        known = identified(spec, self._root)
        found = self._by_fingerprint[known.fingerprint] if known else self._by_words[_words(spec)]
        latest = {document.get("status"): document for document in reversed(found)}
        if "COMPLETED" in latest:
            return Found("finished", latest["COMPLETED"])
        if "RUNNING" in latest:
            return Found("running", latest["RUNNING"])
        return self._cut_short(found)

    def _cut_short(self, found: Iterable[Document]) -> Found:
        for document in found:
            if document.get("status") == "FAILED" and self._diverged(str(document["uid"])):
                return Found("diverged", document)
            if lineage.has_checkpoint(self._root / RUNS / str(document["uid"])):
                return Found("begun", document)
        return MISSING

    def _diverged(self, uid: str) -> bool:
        traces = [document.get("fail_trace") or () for document in self._runs.named(uid)]
        return any("FloatingPointError" in str(line) for trace in traces for line in trace)

    @cached_property
    def _by_words(self) -> dict[str, list[Document]]:
        found: dict[str, list[Document]] = defaultdict(list)
        for document in self._documents:
            spec = spec_of(document)
            if spec is not None and document.get("fingerprint"):
                found[_words(spec)].append(document)
        return found


def identified(spec: DistillSpec, root: Path) -> DistillSpec | None:
    """The spec as its run will write it down; None where a model must be built or fetched to know that.

    Args:
        spec: as it was asked for.
        root: the folder for caches.
    """
    found = [_teacher(teacher, root) for teacher in spec.teachers]
    addresses = [model.weights for model in (spec.student, *spec.teachers) if model.weights]
    if None in found or any(download.is_url(address) for address in addresses):
        return None
    return sources.identified(spec.replace(teachers=tuple(filter(None, found))))


def _teacher(teacher: TeacherSpec, root: Path) -> TeacherSpec | None:
    """A stored teacher with what identifies it; one that is not trained yet will have its recipe's fingerprint."""
    folder = naming.find(teacher.name, root)
    if folder is None:
        return None
    if not stored.is_stored(folder):
        return replace(teacher, fingerprint=recipe_spec(naming.TRAINED[teacher.name]).fingerprint)
    card = stored.load_card(folder)
    normalize = teacher.normalize or card.normalize
    return replace(teacher, fingerprint=card.fingerprint or card.sha256[:16], normalize=normalize)


def _words(spec: DistillSpec) -> str:
    """A fingerprint of what was asked for alone: files and addresses by their names, not by what is in them."""

    def plain(address: str | None) -> str | None:
        return download.public(address).partition("#")[0] if address and download.is_url(address) else address

    models = tuple(replace(each, fingerprint=None, weights=plain(each.weights)) for each in spec.teachers)
    student = replace(spec.student, weights=plain(spec.student.weights))
    return spec.replace(student=student, teachers=models, sources=()).fingerprint

"""One call of the command: the students that are left, group after group."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from experiments.command.database import database
from experiments.distillation import early, resuming
from experiments.distillation.distillation import tell
from experiments.distillation.feed import Feed
from experiments.distillation.prepare import Common, gather, num_logits
from experiments.distillation.trained import data_for
from experiments.planning import estimates
from experiments.planning.words import duration
from experiments.sweep import groups
from experiments.sweep.ledger import Entry, Ledger
from experiments.sweep.student import Student
from experiments.sweep.training import Show, train
from experiments.tracking.folders import check_root
from experiments.tracking.mongod import Destination
from framework.errors import UserError
from framework.loop.stop import Stop


class Session:
    """Trains what a ledger has left to train.

    Args:
        ledger: the sweep.
        options: the command's flags.
        stop: ends it when asked.
        show: shows how far a group is, where not each for itself; as in `training.train`.
        told: lines on data and teachers that were said before.

    Attributes:
        has_labels: whether the data have labels.
        problems: a line on each file that could not be written.
        flag: what to add to other commands to reach the same database.
    """

    def __init__(
        self,
        ledger: Ledger,
        options: argparse.Namespace,
        stop: Stop,
        show: Show | None = None,
        told: set[str] | None = None,
    ) -> None:
        self.ledger, self.options, self.stop, self.show = ledger, options, stop, show
        self.left = [entry for entry in ledger.entries if not ledger.is_finished(entry)]
        specs = [entry.point.spec for entry in self.left]
        self.groups = [[self.left[place] for place in group] for group in groups.grouped(specs)]
        self.has_labels = all(spec.data.labels is not None for spec in specs)
        self.problems: list[str] = []
        self.flag = ""
        self._where = ""
        self._note: str | None = None
        self._told = set() if told is None else told
        self._begun, self._trained = time.monotonic(), 0

    def listed(self) -> Iterator[str]:
        """A line on each group and each student that is left."""
        for number, group in enumerate(self.groups, start=1):
            spec = group[0].point.spec
            yield f"group {number}: {len(group)} students on one teacher's pass, seed {spec.seed}, {spec.data.name}"
            yield from (f"  {entry.point.label}" for entry in group)

    def train(self) -> None:
        """Train the students that are left, and keep the ledger.

        Raises:
            UserError: something in the data, the teachers or a student's name that the user can mend.
        """
        if not self.left:
            tell(f"sweep {self.ledger.uid} is finished: there is nothing to do")
            return
        for entry in self.left:
            early.check(*entry.point.checked)
            entry.status, entry.told = None, ""
        check_root(self.ledger.root)
        with database(self.options.mongo_db, self.options.journal_only, self.ledger.root) as opened:
            try:
                for group in self.groups:
                    self._try_group(group, opened)
                    gc.collect()
            except KeyboardInterrupt:
                # While something is prepared nobody heeds a signal, and a sweep that was written down can be resumed.
                if self.stop.status is None or not self.ledger.is_written:
                    raise
            if self._note:
                tell(self._note)

    def _try_group(self, group: Sequence[Entry], opened: Callable[[], Destination]) -> None:
        if self.stop.status is not None:
            return
        try:
            self._group(group, opened)
        except UserError as error:
            self._refuse([entry for entry in group if entry.status is None], error)

    def _refuse(self, entries: Sequence[Entry], error: UserError) -> None:
        """End the sweep where nothing is trained yet; else leave the entries out, without a run.

        Raises:
            UserError: that of the first case.
        """
        if not self._trained:
            raise error
        for entry in entries:
            entry.status, entry.told = "FAILED", str(error)
            tell(f"{entry.point.label}: {error}; the other students continue")
        self.ledger.write()

    def _group(self, entries: Sequence[Entry], opened: Callable[[], Destination]) -> None:
        spec, options = entries[0].point.checked
        splits = data_for(spec, options, self.ledger.root, self._tell_once)
        common = gather(spec, options, self.ledger.root, splits=splits, tell=self._tell_once)
        self.has_labels = self.has_labels and common.splits.classes is not None
        memories = self._memories(entries, common)
        size = self.options.group_size or groups.fitting(memories, common.device)
        if size < len(entries):
            tell(f"{len(entries)} students are trained {size} at a time (--group-size changes that)")
        for part in groups.parted(entries, size):
            if self.stop.status is None:
                self._part(part, common, opened)
                self._trained += len(part)
                self._tell_progress()

    def _tell_once(self, line: str) -> None:
        """What is to be said of the data and the teacher is the same in most groups."""
        if line not in self._told:
            self._told.add(line)
            tell(line)

    def _destination(self, opened: Callable[[], Destination]) -> Destination:
        destination = opened()
        self.flag = f" {destination.flag}" if destination.flag else ""
        self._where, self._note = destination.describe(), destination.note
        return destination

    def _tell_progress(self) -> None:
        """How many of the sweep's students have ended, and how long the others will take at this pace."""
        total, left = len(self.ledger.entries), len(self.left) - self._trained
        if left and self.stop.status is None and self.show is None:
            seconds = (time.monotonic() - self._begun) / self._trained * left
            tell(f"{total - left} of {total} students, about {duration(seconds)} left")

    def _memories(self, entries: Sequence[Entry], common: Common) -> list[estimates.Memory]:
        """What each student's run would take alone; what can't be built is refused before anything is trained."""
        # It imports Keras, which needs the backend to be loaded.
        from framework.models import cost

        teachers = [cost.of(teacher.model) for teacher in common.teachers]
        memories = []
        for spec in (entry.point.spec for entry in entries):
            model = cost.outline(spec.student.name, spec.student.options, num_logits(common), spec.views.size)
            memories.append(estimates.memory(spec, cost.of(model), teachers))
        return memories

    def _part(self, entries: Sequence[Entry], common: Common, opened: Callable[[], Destination]) -> None:
        # What is refused is refused here, and leaves neither a run nor a database.
        specs = [entry.point.spec for entry in entries]
        steps = [spec.duration.steps(common.splits.train.num_examples, spec.batch_size) for spec in specs]
        common = replace(common, feed=Feed(max(steps)))
        prepared = [self._prepared(entry, common) for entry in entries]
        students = [student for student in prepared if student is not None]
        if not students:
            return
        _refuse_weak_teacher(students)
        destination = self._destination(opened)
        for student in students:
            student.open(destination)
        self.ledger.write()
        flags = {"--comment": self.options.comment} if self.options.comment else {}
        fields: dict[str, Any] = {"sweep": self.ledger.name}
        train(students, fields, flags, self.stop, self.ledger.write, self.show)
        self.ledger.write()
        for student in students:
            self.problems += student.outcome.problems if student.outcome is not None else ()
            if student.tracker.note:
                tell(student.tracker.note)

    def _prepared(self, entry: Entry, common: Common) -> Student | None:
        folder = self.ledger.origin(entry)
        student = Student(entry, self.ledger.root, resuming.load(folder) if folder is not None else None)
        try:
            student.prepare(common)
        except UserError as error:
            self._refuse([entry], UserError(f"{entry.point.label}: {error}"))
            return None
        return student

    def closing(self, best: Entry) -> str:
        """Where the runs are."""
        show = f"python -m experiments.runs show {best.number or best.runs[-1]}{self.flag}"
        where = f"logged in {self._where}: {show}" if self._where else show
        return f"sweep {self.ledger.uid}, {len(self.ledger.entries)} students, {where}"

    def fault(self, faults: Sequence[Entry]) -> str:
        """What has gone wrong, in a line."""
        if self.problems:
            return f"not all could be written: {self.problems[-1]}"
        if not faults:
            return "no student was trained to its end"
        first = faults[0]
        return f"{len(faults)} of {len(self.ledger.entries)} students failed, {first.point.label}: {first.told}"


def _refuse_weak_teacher(students: Sequence[Student]) -> None:
    """By the first evaluation of one student, which the others' would repeat; raises as `Distillation.before` does."""
    fresh = [each for each in students if each.fault is None and each.origin is None]
    if fresh:
        _ = max(fresh, key=lambda each: each.spec.loss.task_weight).ready.before

"""One call of the command: the students that are left, group after group."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache

from experiments.command.exit import DONE, FAULT, INTERRUPTED, PREEMPTED, say
from experiments.distillation import early, resuming
from experiments.distillation.distillation import tell
from experiments.distillation.feed import Feed
from experiments.distillation.prepare import Common, gather
from experiments.distillation.trained import data_for
from experiments.planning.words import duration
from experiments.sweep import groups
from experiments.sweep.ledger import DIVERGED, Entry, Ledger
from experiments.sweep.student import Student
from experiments.sweep.table import Ranking, selected_by
from experiments.sweep.training import Show, train
from experiments.tracking.folders import check_root
from experiments.tracking.mongod import Destination, check_database, open_database
from framework.errors import UserError
from framework.loop.stop import Stop

NAME = "experiments.sweep"


class Session:
    """Trains what a ledger has left to train.

    Args:
        ledger: the sweep.
        options: the command's flags.
        stop: ends it when asked.
        show: shows how far a group is, where not each for itself; as in `training.train`.
        tell_once: takes lines on data and teachers, which are the same in most groups.

    Attributes:
        has_labels: whether the data have labels.
        problems: a line on each file that could not be written.
    """

    def __init__(
        self,
        ledger: Ledger,
        options: argparse.Namespace,
        stop: Stop,
        show: Show | None = None,
        tell_once: Callable[[str], None] | None = None,
    ) -> None:
        self.ledger, self.options, self.stop, self.show = ledger, options, stop, show
        self.left = [entry for entry in ledger.entries if not ledger.is_finished(entry)]
        specs = [entry.point.spec for entry in self.left]
        self.groups = [[self.left[place] for place in group] for group in groups.grouped(specs)]
        self.has_labels = all(spec.data.labels is not None for spec in specs)
        self.problems: list[str] = []
        self._destination: Destination | None = None
        # What a cache knows is not said again.
        self._tell_once = tell_once or cache(tell)
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
        # A server that is named must answer at once; all else waits for a run.
        check_database(self.options.mongo_db, self.options.journal_only)
        with ExitStack() as self._stack:
            try:
                for group in self.groups:
                    self._try_group(group)
                    gc.collect()
            except KeyboardInterrupt:
                # While something is prepared nobody heeds a signal, and a sweep that was written down can be resumed.
                if self.stop.status is None or not self.ledger.file.is_file():
                    raise
            if self._destination is not None and self._destination.note:
                tell(self._destination.note)

    def _opened(self) -> Destination:
        """Where runs go; before the first of them nothing is made there."""
        if self._destination is None:
            opened = open_database(self.options.mongo_db, self.options.journal_only, self.ledger.root)
            self._destination = self._stack.enter_context(opened)
        return self._destination

    def _try_group(self, group: Sequence[Entry]) -> None:
        if self.stop.status is not None:
            return
        try:
            self._group(group)
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

    def _group(self, entries: Sequence[Entry]) -> None:
        spec, options = entries[0].point.checked
        splits = data_for(spec, options, self.ledger.root, self._tell_once)
        common = gather(spec, options, self.ledger.root, splits=splits, tell=self._tell_once)
        self.has_labels = self.has_labels and common.splits.classes is not None
        # What can't be built is refused before anything is trained.
        memories = groups.memories([entry.point.spec for entry in entries], common)
        size = self.options.group_size or groups.fitting(memories, common.device)
        if size < len(entries):
            tell(f"{len(entries)} students are trained {size} at a time (--group-size changes that)")
        for part in groups.parted(entries, size):
            if self.stop.status is None:
                self._part(part, common)
                self._trained += len(part)
                self._tell_progress()

    def _tell_progress(self) -> None:
        """How many of the sweep's students have ended, and how long the others will take at this pace."""
        total, left = len(self.ledger.entries), len(self.left) - self._trained
        if left and self.stop.status is None and self.show is None:
            seconds = (time.monotonic() - self._begun) / self._trained * left
            tell(f"{total - left} of {total} students, about {duration(seconds)} left")

    def _part(self, entries: Sequence[Entry], common: Common) -> None:
        # What is refused is refused here, and leaves neither a run nor a database.
        specs = [entry.point.spec for entry in entries]
        steps = [spec.duration.steps(common.splits.train.num_examples, spec.batch_size) for spec in specs]
        common = replace(common, feed=Feed(max(steps)))
        students = list(filter(None, [self._prepared(entry, common) for entry in entries]))
        if not students:
            return
        _refuse_weak_teacher(students)
        destination = self._opened()
        for student in students:
            student.open(destination)
        self.ledger.write()
        flags = {"--comment": self.options.comment} if self.options.comment else {}
        train(students, self.ledger.name, flags, self.stop, self.ledger.write, self.show)
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

    def ranking(self) -> Ranking:
        """The students as they ended, the best first."""
        return Ranking(self.ledger.entries, selected_by(self.ledger.select, self.has_labels))

    @property
    def _flag(self) -> str:
        """What to add to other commands to reach the same database."""
        return f" {self._destination.flag}" if self._destination is not None and self._destination.flag else ""

    def closing(self, best: Entry) -> str:
        """Where the runs are."""
        show = f"python -m experiments.runs show {best.number or best.runs[-1]}{self._flag}"
        where = f"logged in {self._destination.describe()}: {show}" if self._destination is not None else show
        return f"sweep {self.ledger.uid}, {len(self.ledger.entries)} students, {where}"

    def code(self) -> int:
        """The exit code, once they are trained or asked to end; says how to resume, or what was wrong."""
        if self.stop.status is not None:
            tell(f"{self.stop.status}: to resume: python -m {NAME}{self._flag} with resume={self.ledger.uid}")
            return PREEMPTED if self.stop.status == "PREEMPTED" else INTERRUPTED
        if told := self.fault():
            say(NAME, told)
            return FAULT
        return DONE

    def fault(self, all_may_diverge: bool = False) -> str:
        """What has gone wrong, in a line; nothing where nothing has. Students may have diverged."""
        faults = [entry for entry in self.ledger.entries if entry.status not in ("COMPLETED", DIVERGED)]
        if self.problems:
            return f"not all could be written: {self.problems[-1]}"
        if faults:
            told = f"{faults[0].point.label}: {faults[0].told}"
            return f"{len(faults)} of {len(self.ledger.entries)} students failed, {told}"
        trained = any(entry.status == "COMPLETED" for entry in self.ledger.entries)
        return "" if trained or all_may_diverge else "no student was trained to its end"


def _refuse_weak_teacher(students: Sequence[Student]) -> None:
    """By the first evaluation of one student, which the others' would repeat; raises as `Distillation.before` does."""
    fresh = [each for each in students if each.fault is None and each.origin is None]
    if fresh:
        _ = max(fresh, key=lambda each: each.spec.loss.task_weight).ready.before

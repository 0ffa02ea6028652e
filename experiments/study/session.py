"""One call of the command: what is missing is trained, in as few passes of the teacher as it takes, and drawn."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from experiments import config as configs
from experiments.distillation import early
from experiments.distillation.distillation import tell
from experiments.figures import compose
from experiments.planning.timing import step_seconds
from experiments.planning.words import duration
from experiments.study import work
from experiments.study.bar import Overall
from experiments.study.known import Known, identified
from experiments.study.plan import Plan
from experiments.study.points import Planned, Request
from experiments.sweep import groups
from experiments.sweep.ledger import Entry, Ledger
from experiments.sweep.session import Session
from experiments.tracking import both
from experiments.tracking.folders import default_root
from framework.errors import UserError
from framework.loop.stop import Stop

# A student's step is compiled beside others in about this share of a first step alone.
_COMPILED = 0.5


class Study:
    """A study on its way.

    Args:
        request: what was asked for.
        options: the command's flags.
        command: the command line.
        stop: ends it when asked.

    Attributes:
        problems: lines on what went wrong.
    """

    def __init__(self, request: Request, options: argparse.Namespace, command: str, stop: Stop) -> None:
        self.request, self.options, self.command, self.stop = request, options, command, stop
        self.problems: list[str] = []
        self._root = default_root()
        self._costs = work.Costs(self._root)
        self._tried: frozenset[str] = frozenset()
        self._tell_once = cache(tell)
        groups.check_size(options.group_size)

    def _plan(self) -> Plan:
        """What is there now."""
        with both.opened(self.options.mongo_db, self.options.journal_only, self._root) as runs:
            return Plan(self.request, Known(runs, self._root), self._tried)

    def planned(self) -> Iterator[str]:
        """The plan for people, with the time that it takes; nothing is trained."""
        plan = self._plan()
        self._check(plan)
        yield from plan.lines()
        yield f"time        {self._time(plan)}"
        if any(identified(item.point.spec, self._root) is None for item in plan.left[:1]):
            told = "the teacher is no stored model: runs are compared by its name, not by what is in its file"
            yield f"note        {told}"

    def _time(self, plan: Plan) -> str:
        left = [*(item.point.spec for item in plan.left), *plan.later]
        if not left:
            return "nothing: all runs are there"
        try:
            measured = step_seconds(left[0], configs.spec_and_options(self.request.config)[1], self._root, 20)
        except UserError as error:
            return f"not known: {error}"
        if measured is None:
            return "not timed: a step does not fit into the memory that is free"
        first, each = measured
        seconds = each / max(1.0, self._costs.of(left[0]).step) * self._work(plan) + _COMPILED * first * len(left)
        return f"about {duration(seconds)}, {each:.3g} s a step of one student alone"

    def _work(self, plan: Plan) -> float:
        stages = ([item.point.spec for item in plan.left], plan.later)
        return sum(work.together(specs, self._costs) for specs in stages)

    def train(self) -> None:
        """Train what is missing; what the grid chooses is trained after it.

        Raises:
            UserError: something in the data, the teachers or a student that the user can mend.
        """
        plan = self._plan()
        self._check(plan)
        total, count = self._work(plan), len(plan.left) + len(plan.later)
        for line in plan.lines():
            tell(line)
        if not plan.left:
            return
        overall = Overall(self.options.words[0], total, count, lambda student: self._costs.of(student.spec))
        try:
            while plan.left and self.stop.status is None:
                self._stage(plan.left, overall)
                plan = self._plan()
                overall.total = overall.done + self._work(plan)
        finally:
            overall.end()
        self._finish(plan)

    def _check(self, plan: Plan) -> None:
        """Refuse what can be seen beforehand: nothing has been trained by then.

        Raises:
            UserError: a file, name or device that is not here, or a warm-up that is longer than a run.
        """
        for item in plan.left:
            early.check(*item.point.checked)
        for spec in (*(item.point.spec for item in plan.left), *plan.later):
            self._costs.of(spec)

    def _stage(self, items: Sequence[Planned], overall: Overall) -> None:
        """Train runs whose settings are known."""
        runs = [[str(item.found.document["uid"])] if item.found.state == "begun" else [] for item in items]
        entries = [Entry(item.point, before) for item, before in zip(items, runs, strict=True)]
        self._tried |= {item.point.spec.fingerprint for item in items}
        ledger = Ledger(self._root, entries, self.command, None)
        session = Session(ledger, self.options, self.stop, overall.group, self._tell_once)
        session.train()
        if self.stop.status is None and (told := session.fault(all_may_diverge=True)):
            self.problems.append(told)

    def _finish(self, plan: Plan) -> None:
        """Say what was chosen, and what is not there."""
        if self.stop.status is not None:
            return
        for label, settings in plan.chosen.items():
            tell(f"{label}: {', '.join(f'{key}={value}' for key, value in settings.items())} by validation")
        for item in plan.of("diverged"):
            tell(f"{item.point.label}: the loss became NaN or infinite; it is left out")
        if running := plan.of("running"):
            names = ", ".join(str(item.found.document["uid"]) for item in running)
            tell(
                f"{len(running)} runs are being trained by another process, the same command draws them later: {names}"
            )

    def draw(self) -> list[Path]:
        """Draw the study's figures from its runs, with whatever other seeds there are; returns the files.

        Raises:
            UserError: no run has a point yet.
        """
        made: list[Path] = []
        with both.opened(self.options.mongo_db, self.options.journal_only, self._root) as runs:
            plan = Plan(self.request, Known(runs, self._root), self._tried)
            found = [item.found.document for item in plan.counted if item.found.state != "missing"]
            prints = {document.get("fingerprint_no_seed") for document in found}
            documents = [each for each in runs.latest({}) if each.get("fingerprint_no_seed") in prints]
            for name in self.request.study.figures:
                wanted = compose.Request(name, self.options.output, tell, chosen=plan.sentence())
                made += compose.make(runs, documents, wanted)
        return made

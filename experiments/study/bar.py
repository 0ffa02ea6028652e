"""How far a whole study is: one bar on a terminal for all its runs, lines elsewhere; with the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.planning.words import duration
from experiments.study import work
from experiments.study.work import Cost
from experiments.sweep.student import Student
from framework.loop.progress import SHOWN, Progress, pause

_PARTS = 1000
_GLANCE_S = 0.1
# A share of the work; the first step is compiled, which says nothing about the pace.
_TELLING = 0.02


class Overall:
    """Of all the runs that are left.

    Args:
        title: what is trained.
        total: multiply-adds of all that is left.
        runs: how many are left.
        cost_of: of a student that is trained.
    """

    def __init__(self, title: str, total: float, runs: int, cost_of: Callable[[Student], Cost]) -> None:
        self.title, self.total, self.runs = title, total, runs
        self._cost_of = cost_of
        self.done, self.ended = 0.0, 0
        self._begun = self._last = time.monotonic()
        # Made with the first step: until then other lines are written.
        self._bar: Any = None

    def group(self, students: Sequence[Student]) -> Group:
        """What shows the progress of one group, as a part of the whole."""
        ready = [student.ready for student in students if student.ready is not None]
        done = [each.trainer.steps_done for each in ready]
        costs = [self._cost_of(student) for student in students]
        # What was done before this command was started takes no time of it.
        self.total -= work.upto(costs, max(cost.steps for cost in costs), [0] * len(costs)) - work.upto(
            costs, max(cost.steps for cost in costs), done
        )
        return Group(self, costs, done)

    def show(self, done: float, values: Mapping[str, float]) -> None:
        """Where it is, now and then."""
        now = time.monotonic()
        if sys.stderr.isatty():
            self._bar = self._bar or _bar()
            self._bar.n = min(_PARTS, int(_PARTS * done / max(self.total, 1.0)))
            self._bar.set_description_str(self._told(done, values), refresh=False)
            self._bar.update(0)
        elif now - self._last >= pause(now - self._begun):
            self._last = now
            print(f"{self.title}: {self._told(done, values)}", file=sys.stderr, flush=True)

    def rest(self) -> None:
        """Take the bar away while something else is said."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Nothing more comes."""
        if self._bar is not None:
            self._bar.close()

    def left(self, done: float) -> float | None:
        """Seconds, at the pace so far; None where too little is done to tell."""
        seconds = time.monotonic() - self._begun
        return seconds * (self.total - done) / done if done > _TELLING * self.total else None

    def _told(self, done: float, values: Mapping[str, float]) -> str:
        left = self.left(done)
        shown = [f"{SHOWN[name]} {value:.4g}" for name, value in values.items() if name in SHOWN]
        parts = [f"{done / max(self.total, 1.0):.0%}", f"{self.ended} of {self.runs} runs", *shown]
        return ", ".join([*parts, *([f"about {duration(max(0.0, left))} left"] if left is not None else [])])


class Group(Progress):
    """A `Progress` of one group of students; see `framework.loop.progress`.

    Args:
        overall: of which it is a part.
        costs: of its students.
        done: steps that each had done before.
    """

    def __init__(self, overall: Overall, costs: Sequence[Cost], done: Sequence[int]) -> None:
        self._overall, self._costs, self._done = overall, costs, done
        self._before, self._ended = overall.done, overall.ended
        self._values: dict[str, float] = {}
        self._step, self._shown = min(done), 0.0

    def update(self, step: int) -> None:
        """So many steps are done; looked at a few times a second, because a step may take less."""
        self._step = step
        if time.monotonic() - self._shown > _GLANCE_S:
            self._shown = time.monotonic()
            self._look(step)

    def _look(self, step: int) -> None:
        self._overall.done = self._before + work.upto(self._costs, step, self._done)
        self._overall.ended = self._ended + sum(cost.steps <= step for cost in self._costs)
        self._overall.show(self._overall.done, self._values)

    def show(self, values: Mapping[str, float]) -> None:
        """Metrics, of which some are shown."""
        self._values |= values

    def close(self) -> None:
        """The group is done; the bar stays for the others."""
        self._look(self._step)
        self._overall.rest()


def _bar() -> Any:
    from tqdm import tqdm

    return tqdm(
        total=_PARTS,
        file=getattr(sys.stderr, "__wrapped__", sys.stderr),
        dynamic_ncols=True,
        mininterval=0.2,
        leave=False,
        bar_format="|{bar}| {desc} [{elapsed}]",
    )

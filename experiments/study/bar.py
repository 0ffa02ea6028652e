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


class Overall(Progress):
    """The progress of all the runs that are left, whose groups are trained one after the other.

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

    def group(self, students: Sequence[Student]) -> Progress:
        """Begin with the next group, whose steps are told from here on."""
        self._first = [student.ready.trainer.steps_done for student in students]
        self._costs = [self._cost_of(student) for student in students]
        # What was done before this command was started takes no time of it.
        self.total -= work.upto(self._costs) - work.upto(self._costs, done=self._first)
        self._before, self._ended_before = self.done, self.ended
        self._values: dict[str, float] = {}
        self._step, self._shown = min(self._first), 0.0
        return self

    def update(self, step: int) -> None:
        """So many steps are done; looked at a few times a second, because a step may take less."""
        self._step = step
        if time.monotonic() - self._shown > _GLANCE_S:
            self._shown = time.monotonic()
            self._look()

    def show(self, values: Mapping[str, float]) -> None:
        """See `Progress`."""
        self._values |= values

    def close(self) -> None:
        """The group is done; the bar is away while something else is said, and stays for the others."""
        self._look()
        if self._bar is not None:
            self._bar.clear()

    def end(self) -> None:
        """No other group comes."""
        if self._bar is not None:
            self._bar.close()

    def _look(self) -> None:
        self.done = self._before + work.upto(self._costs, self._step, self._first)
        self.ended = self._ended_before + sum(cost.steps <= self._step for cost in self._costs)
        now = time.monotonic()
        if sys.stderr.isatty():
            self._bar = self._bar or _bar()
            self._bar.n = min(_PARTS, int(_PARTS * self._share))
            self._bar.set_description_str(self._told(), refresh=False)
            self._bar.update(0)
        elif now - self._last >= pause(now - self._begun):
            self._last = now
            print(f"{self.title}: {self._told()}", file=sys.stderr, flush=True)

    @property
    def _share(self) -> float:
        return self.done / max(self.total, 1.0)

    def _told(self) -> str:
        shown = [f"{SHOWN[name]} {value:.4g}" for name, value in self._values.items() if name in SHOWN]
        left = [f"about {duration(max(0.0, self._left()))} left"] if self.done > _TELLING * self.total else []
        return ", ".join([f"{self._share:.0%}", f"{self.ended} of {self.runs} runs", *shown, *left])

    def _left(self) -> float:
        """Seconds, at the pace so far."""
        return (time.monotonic() - self._begun) * (self.total - self.done) / self.done


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

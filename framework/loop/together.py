"""Several students on one teacher's pass: their loops in turns, and each batch seen once for all of them.

Each loop is the one that it would be alone; only what it learns from was made for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, cast

from framework.data.loader import Loader
from framework.loop.fit import Turns
from framework.loop.progress import Progress
from framework.loop.stop import Stop
from framework.protocols import Batch, Outcome, Seen, Trainer

K = TypeVar("K")


class Shared:
    """What the teachers say to the batches, asked once for all students.

    Args:
        loader: the batches.
        trainer: asks its teachers; the students' trainers have the same, and the same views.
    """

    def __init__(self, loader: Loader, trainer: Trainer) -> None:
        self.loader, self.trainer = loader, trainer
        self._made: Iterator[Batch] = iter(())
        self._step: int | None = None
        self._seen: Seen = ()

    def upto(self, total_steps: int) -> Callable[[int], Iterator[Seen]]:
        """A function of the first step: what there is to learn from it on, for a student of so many steps."""
        return lambda start: (self._at(step) for step in range(start, total_steps))

    def _at(self, step: int) -> Seen:
        if step != self._step:
            if self._step is None or step != self._step + 1:
                self._made = self.loader.batches(step)
            self._seen, self._step = self.trainer.see(next(self._made)), step
        return self._seen


def together(
    loops: Mapping[K, tuple[Trainer, Turns]], stop: Stop, ended: Callable[[K, Outcome], None]
) -> dict[K, Outcome]:
    """Run several loops to their ends; those that are behind come first, and the end of one doesn't end the others.

    Args:
        loops: each one's trainer, which counts the steps, and its turns, by name.
        stop: what all the loops look at.
        ended: told of each end at once.

    Returns:
        How each ended.
    """
    going, outcomes = dict(loops), {}
    with stop.heeding():
        while going:
            step = min(trainer.steps_done for trainer, _ in going.values())
            for name, (trainer, turns) in list(going.items()):
                if trainer.steps_done == step and (outcome := _turn(turns, stop)) is not None:
                    del going[name]
                    outcomes[name] = outcome
                    ended(name, outcome)
    return outcomes


def _turn(turns: Turns, stop: Stop) -> Outcome | None:
    """One turn; the outcome where it was the last."""
    try:
        next(turns)
    except StopIteration as end:
        return cast(Outcome, end.value)
    except KeyboardInterrupt as error:
        return Outcome(stop.status or "INTERRUPTED", 0, error=error)
    except Exception as error:  # noqa: BLE001 - the others go on
        return Outcome("FAILED", 0, error=error)
    return None


class CommonProgress(Progress):
    """One bar for all: it is where the first of them is, and shows the best validation."""

    def __init__(self, inner: Progress, count: int) -> None:
        self.inner, self._open = inner, count
        self._step = -1
        self._best = -1.0

    def update(self, step: int) -> None:
        """See `Progress`."""
        if step > self._step:
            self._step = step
            self.inner.update(step)

    def show(self, values: Mapping[str, float]) -> None:
        """See `Progress`."""
        accuracy = values.get("validation.student.accuracy", -1.0)
        if accuracy > self._best:
            self._best = accuracy
            self.inner.show(values)

    def say(self, line: str) -> None:
        """See `framework.loop.progress.Progress`."""
        self.inner.say(line)

    def close(self) -> None:
        """See `Progress`."""
        self._open -= 1
        if not self._open:
            self.inner.close()

"""Leaving out a step whose loss is NaN or infinite: back to the last good state, and past the step.

Losses are read now and then only, so that nobody waits for each step: what is kept is the state of the last look at
which all was well. From there the same steps are done again, but for the one. All else about a step is a function of
its number, so a run that is resumed, or done again, leaves out the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from framework.protocols import Array, Trainer

# So many steps left out between two looks: it isn't the batches then.
MOST = 10


class NotFinite(FloatingPointError):
    """A step's loss, or the norm of its gradient, is NaN or infinite.

    Attributes:
        step: updates done with it.
        told: what, where and with which learning rate and draws.
    """

    def __init__(self, step: int, told: str) -> None:
        # No learning rate mends a teacher: `explain` has named it then.
        super().__init__(told if "; the teacher " in told else f"{told}: try a lower optimizer.lr")
        self.step, self.told = step, told

    @classmethod
    def first(
        cls, metrics: Sequence[Mapping[str, Any]], last: int, names: Sequence[str], explain: Callable[[int], str]
    ) -> NotFinite:
        """The first of some steps with a metric that is NaN or infinite.

        Args:
            metrics: of consecutive steps, still on the device.
            last: updates done with the last of them.
            names: the metrics that count, `loss` the first.
            explain: more words on a step.
        """
        for place, values in enumerate(metrics):
            for name in names:
                value = float(values.get(name, 0.0))
                if not math.isfinite(value):
                    step = last + place + 1 - len(metrics)
                    return cls(step, f"the {name} is {value} at step {step}{explain(step)}")
        raise AssertionError("all of them are numbers")


class Skipping:
    """The last good state of a trainer, and the steps after it that are left out.

    Attributes:
        count: steps that were left out so far.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.count = trainer, 0
        self._steps: set[int] = set()
        self.keep()

    def keep(self) -> None:
        """All is well up to here."""
        self._state: Mapping[str, Array] = self.trainer.state()
        self._steps.clear()

    def passes(self) -> bool:
        """Let a step that is left out count as done; whether the next one was such a step."""
        if self.trainer.steps_done + 1 not in self._steps:
            return False
        self.trainer.steps_done += 1
        return True

    def leave_out(self, bad: NotFinite) -> None:
        """Bring the trainer back.

        Raises:
            NotFinite: too many were left out since all was well.
        """
        if len(self._steps) == MOST:
            raise bad
        self._steps.add(bad.step)
        self.count += 1
        self.trainer.restore(self._state)

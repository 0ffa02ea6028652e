"""When a loop logs, evaluates and saves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from framework.spec.training import Spacing

# A loss is read from the device this often at most: reading waits for the step to end.
_LOGS_PER_RUN = 400


@dataclass(frozen=True)
class Cadence:
    """When the loop logs, evaluates and saves.

    Attributes:
        total_steps: where it ends.
        log_every: steps between two logged losses; None takes 400 points a run.
        num_evaluations: evaluations along the way, the last at the end.
        checkpoint_minutes: longest time between two checkpoints; each evaluation is followed by one anyway.
        checkpoint_steps: steps between two checkpoints, whatever the time; None for none.
        keep_every: a checkpoint is written at its multiples too; None for none.
        spacing: whether evaluations are spread evenly over the steps, or over their logarithm.
    """

    total_steps: int
    log_every: int | None = None
    num_evaluations: int = 10
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    keep_every: int | None = None
    spacing: Spacing = "linear"

    def saves_at(self, step: int, seconds: float) -> bool:
        """Whether the state is kept after so many steps, and so many seconds after it was kept last."""
        every = (self.checkpoint_steps, self.keep_every)
        return seconds > 60 * self.checkpoint_minutes or any(number and step % number == 0 for number in every)

    @property
    def log_steps(self) -> int:
        """Steps between two looks at the metrics."""
        return self.log_every or max(1, self.total_steps // _LOGS_PER_RUN)

    def logs_at(self, step: int) -> bool:
        """Whether metrics are read after so many steps."""
        return step % self.log_steps == 0 or step == self.total_steps

    def is_due_at(self, step: int) -> bool:
        """Whether anything is done after so many steps."""
        return self.logs_at(step) or self.evaluates_at(step) or self.saves_at(step, 0.0)

    def evaluates_at(self, step: int) -> bool:
        """Whether models are measured after so many steps; the end is measured anyway."""
        return step in self._evaluated

    @cached_property
    def _evaluated(self) -> frozenset[int]:
        total, times = self.total_steps, self.num_evaluations
        places = range(1, times)
        if self.spacing == "log":
            return frozenset(round(total ** (place / times)) for place in places) - {total}
        return frozenset(-(-total * place // times) for place in places) - {total}

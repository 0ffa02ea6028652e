"""What a distillation learns from and is measured on: its own, or shared with others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.data.loader import EvalBatches, Loader
from framework.data.source import Splits
from framework.data.targets import make
from framework.loop.evaluator import Evaluator, evaluation_batches
from framework.protocols import Trainer
from framework.spec import DistillSpec
from framework.world import World


class Feed:
    """Batches for distillations of the same data, views and teachers. The first one that asks makes them for all.

    Args:
        total_steps: where the longest training ends.
        world: the processes that train together: each has its own part.
    """

    def __init__(self, total_steps: int, world: World = World()) -> None:  # noqa: B008 - frozen
        self.total_steps, self.world = total_steps, world
        self._loader: Loader | None = None
        self._measured: dict[str, EvalBatches] = {}

    def loader(
        self, spec: DistillSpec, splits: Splits, trainer: Trainer, teachers: Sequence[str], cache: Path
    ) -> Loader:
        """The training batches, with the teachers' targets where the teaching makes them before.

        Labels are in a batch only where the loss counts them; `teachers` are the SHA-256 of each.
        """
        if self._loader is None:
            loader = Loader(spec, splits.train, self.total_steps, world=self.world)
            if spec.scheme.averaged:
                targets = make(loader, trainer, teachers, cache)
                loader = Loader(spec, splits.train, self.total_steps, targets, self.world)
            self._loader = loader
        return self._loader

    def evaluator(self, spec: DistillSpec, splits: Splits, trainer: Trainer) -> Evaluator:
        """What measures a student and its teachers: each has its own, on the same views."""
        self._measured = self._measured or evaluation_batches(spec, splits, self.world)
        return Evaluator(spec, self._measured, trainer)

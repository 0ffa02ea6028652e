"""What runs cost beside each other, in multiply-adds: for the bar, and for the hours that a plan tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.distillation.checks import check_length
from experiments.planning.timing import arithmetic, planned
from experiments.sweep import groups
from framework import data as data_layer
from framework.data.counts import Counts, count
from framework.errors import UserError
from framework.spec import DataSpec, DistillSpec


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        steps: of all of it.
        student: multiply-adds of one step, with a step's share of the evaluations.
        teacher: those of one step.
        step: those of both in a step alone.
    """

    steps: int
    student: float
    teacher: float
    step: float


class Costs:
    """What runs cost; models are counted once for each kind. The backend must be loaded.

    Args:
        root: the folder for caches.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: dict[DataSpec, Counts] = {}
        self._models: dict[str, tuple[int, int, int]] = {}

    def of(self, spec: DistillSpec) -> Cost:
        """One run's.

        Raises:
            UserError: a model that can't be built, data that are not there, or a warm-up that is longer than the run.
        """
        if spec.data not in self._counts:
            self._counts[spec.data] = self._counted(spec.data)
        counts = self._counts[spec.data]
        check_length(spec, counts.train)
        kind = repr((spec.student, spec.teachers, spec.views, spec.teaching, spec.data, spec.evaluation))
        if kind not in self._models:
            self._models[kind] = arithmetic(spec, counts, planned(spec, counts))
        student, teacher, evaluated = self._models[kind]
        steps = spec.duration.steps(counts.train, spec.batch_size)
        own, taught = student * spec.batch_size, teacher * spec.batch_size
        return Cost(steps, own + evaluated / steps, taught, own + taught)

    def _counted(self, data: DataSpec) -> Counts:
        """Without decoding them, where that is possible."""
        try:
            return count(data, self._root / "cache")
        except UserError:
            splits = data_layer.load(data, self._root / "cache")
            classes = len(splits.classes) if splits.classes else None
            others = (splits.validation, splits.test)
            validation, test = (None if source is None else source.num_examples for source in others)
            return Counts(splits.train.num_examples, validation, test, classes, None, "loaded")


def upto(costs: Sequence[Cost], step: float = math.inf, done: Sequence[int] | None = None) -> float:
    """Multiply-adds of a group from where its students are to a step.

    Args:
        costs: of its students, who share the teacher's pass.
        step: where the first of them is; by default at its end.
        done: steps that each had done before; by default none.
    """
    done = done or [0] * len(costs)
    own = sum(cost.student * max(0, min(step, cost.steps) - first) for cost, first in zip(costs, done, strict=True))
    last = min(step, max(cost.steps for cost in costs))
    return own + max(cost.teacher for cost in costs) * max(0, last - min(done))


def together(specs: Sequence[DistillSpec], costs: Costs) -> float:
    """Multiply-adds of runs that are trained in as few groups as possible."""
    return sum((upto([costs.of(specs[place]) for place in group]) for group in groups.grouped(specs)), 0.0)

"""How long a step takes: timed on noise, with as many examples as the device can hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backends.base import Backend, Device
from experiments.distillation import outputs
from experiments.distillation.options import RunOptions
from experiments.planning import estimates, missing
from experiments.planning.words import scaled
from framework.data.counts import Counts, count
from framework.errors import UserError
from framework.spec import DistillSpec, ModelSpec

if TYPE_CHECKING:
    from framework.data.loader import Loader
    from framework.models.cost import Cost
    from framework.protocols import Trainer


@dataclass(frozen=True)
class Planned:
    """A student or teacher as it is to be built: its spec, its logits, the size of its views, and what it costs."""

    who: str
    spec: ModelSpec
    num_classes: int
    size: int
    cost: Cost

    def describe(self) -> str:
        """It in a line."""
        cost, options = self.cost, ", ".join(f"{key}={value}" for key, value in self.spec.options.items())
        named = f"{self.spec.name}({options})"
        arithmetic = f"{scaled(2 * cost.macs)}FLOP" if cost.macs else "arithmetic unknown"
        return f"{named}, {cost.parameters:,} parameters, {arithmetic} an image of {self.size} px"


def planned(spec: DistillSpec, counts: Counts) -> list[Planned]:
    """The student of a spec, and its teachers.

    Raises:
        UserError: a model that can't be built, or of which nothing says how many classes it has.
    """
    from framework.models import cost

    def model(who: str, built: ModelSpec, num_classes: int, size: int) -> Planned:
        outline = cost.outline(built.name, built.options, num_classes, size)
        return Planned(who, built, num_classes, size, cost.of(outline))

    found = [outputs.to_be_built(teacher, counts.num_classes) for teacher in spec.teachers]
    num_classes = counts.num_classes or (found[0][1] if found else None)
    if num_classes is None:
        raise UserError("data without labels and without a teacher: nothing says how many classes there are")
    taught = [
        model("teacher", each, logits, size) for (each, logits), size in zip(found, spec.teacher_sizes, strict=True)
    ]
    return [model("student", spec.student, num_classes, spec.views.size), *taught]


@dataclass(frozen=True)
class Timing:
    """The step of a run, to be timed.

    Attributes:
        spec, options: of the run.
        models: its student and its teachers.
        counts: of its data.
        backend, device: where it is timed.
    """

    spec: DistillSpec
    options: RunOptions
    models: Sequence[Planned]
    counts: Counts
    backend: Backend
    device: Device

    @property
    def costs(self) -> tuple[Cost, list[Cost]]:
        """Of the student, and of the teachers."""
        return self.models[0].cost, [teacher.cost for teacher in self.models[1:]]

    @cached_property
    def size(self) -> int:
        """How many examples are timed."""
        return estimates.timed_batch(self.spec, *self.costs, self.device)

    def too_large(self) -> str:
        """What a step lacks of the memory that is free; empty where it fits, or where nobody knows."""
        free = estimates.available_memory()
        needed = 2 * estimates.memory(replace(self.spec, batch_size=self.size), *self.costs).total
        if self.device.kind != "cpu" or free is None or needed <= free:
            return ""
        return f"{self.size} examples need about {scaled(needed)}B, {scaled(free)}B are free"

    def seconds(self, steps: int) -> tuple[float, float]:
        """Seconds of the first step, and of a later one with the whole batch."""
        trainer, loader = self._on_noise(max(steps, self.spec.schedule.warmup_steps) + 1)
        # The last loss is waited for: steps are only put into a queue on an accelerator.
        begun = time.perf_counter()
        float(trainer.step(loader.batch(0))["loss"])
        first = time.perf_counter()
        for step in range(1, steps + 1):
            loss = trainer.step(loader.batch(step))["loss"]
        float(loss)
        each = (time.perf_counter() - first) / steps
        return first - begun, each * self.spec.batch_size / self.size

    def _on_noise(self, total_steps: int) -> tuple[Trainer, Loader]:
        """What a step takes: crops, transfer and update, without reading or decoding images."""
        from framework.data.loader import Loader
        from framework.models import catalog

        spec, jit = replace(self.spec, batch_size=self.size), self.options.compile
        student, *others = (
            catalog.build(m.spec.name, m.spec.options, m.num_classes, m.size, None) for m in self.models
        )
        trainer = self.backend.compile(spec, student, others, total_steps=total_steps, device=self.device, jit=jit)
        source = estimates.RandomSource(self.counts.train, self.models[0].num_classes, self.counts.side)
        # Made before the training, where there are any; for the time a step takes, their values don't matter.
        targets = [np.zeros((source.num_examples, source.num_classes), np.float32)] * len(others)
        return trainer, Loader(spec, source, total_steps, targets if spec.scheme.averaged else None)


def step_seconds(spec: DistillSpec, options: RunOptions, root: Path, steps: int) -> tuple[float, float] | None:
    """Seconds of the first step and of a later one, timed on noise; None where a step doesn't fit in memory.

    Args and errors are those of `plan.lines`.
    """
    backend, device, _ = missing.backend_of(spec, options)
    counts = count(spec.data, root / "cache")
    timing = Timing(spec, options, planned(spec, counts), counts, backend, device)
    return None if timing.too_large() else timing.seconds(steps)


def arithmetic(spec: DistillSpec, counts: Counts, models: Sequence[Planned]) -> tuple[int, int, int]:
    """Multiply-adds of one example in one step: of the student, its backward pass included, and of its teachers.

    And those of all evaluations. The models are those that `planned` gives.
    """
    student, *others = [each.cost.macs for each in models]
    evaluated = estimates.evaluation_macs(spec, counts, student, sum(others))
    return 3 * student, 0 if spec.scheme.averaged else sum(others), evaluated

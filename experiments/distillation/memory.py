"""What takes less memory than a step that didn't fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.base import Device
from experiments.distillation.options import RunOptions
from experiments.planning import estimates
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from keras import Model

    from framework.models.cost import Cost


def too_little(
    spec: DistillSpec, options: RunOptions, device: Device, student: Model, teachers: Sequence[Model]
) -> str:
    """One line where an accelerator has less free memory than a step takes by estimate, else an empty text."""
    from framework.models import cost

    at_once = replace(spec, batch_size=max(2, spec.batch_size // options.grad_accum_steps))
    needed = estimates.memory(at_once, cost.of(student), [cost.of(teacher) for teacher in teachers]).total
    if device.memory is None or needed <= device.memory:
        return ""
    free = f"{device.memory / 1e9:.1f} GB are free on {device}"
    return f"hint: a step needs about {needed / 1e9:.1f} GB, and {free}: does another process hold the rest?"


def advice(
    spec: DistillSpec, options: RunOptions, device: Device, student: Model, teachers: Sequence[Model], free: int | None
) -> str:
    """One line on a step that was too large for a device, with `free` bytes for all of it; None where nobody knows."""
    from framework.models import cost
    from framework.models.catalog import BLOCKS

    fits = fitting(spec, cost.of(student), [cost.of(teacher) for teacher in teachers], free, options.grad_accum_steps)
    ways, parts = [], _parts(spec.batch_size, fits)
    if parts > options.grad_accum_steps:
        ways.append(f"grad_accum_steps={parts} makes the same update of {parts} parts")
    if not options.remat and spec.student.name in BLOCKS:
        ways.append("remat=True keeps fewer activations")
    if fits > 1:
        ways.append(f"batch_size={fits} would fit by estimate")
    at_once = spec.batch_size // options.grad_accum_steps
    return f"{device} has no memory for a step of {at_once} examples: {'; '.join(ways)}"


def fitting(spec: DistillSpec, student: Cost, teachers: Sequence[Cost], free: int | None, parts: int = 1) -> int:
    """How many examples at once may fit, by estimate: at most half of those that didn't, and at least 1."""
    failed = spec.batch_size // parts
    two, three = (estimates.memory(replace(spec, batch_size=size), student, teachers).total for size in (2, 3))
    room = failed if free is None else (free - two) // max(1, three - two) + 2
    return max(1, min(failed // 2, room))


def _parts(batch_size: int, fits: int) -> int:
    """The fewest equal parts of a batch that hold so many examples at most."""
    return next(
        number for number in range(1, batch_size + 1) if batch_size % number == 0 and batch_size // number <= fits
    )

"""What a distillation takes, by simple models of it: arithmetic, memory and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from framework.protocols import Array
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from backends.base import Device
    from framework.data.counts import Counts
    from framework.models.cost import Cost

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "mixed_bfloat16": 2}
# A step on a CPU is timed on so much arithmetic at most.
_CPU_FLOPS = 1e11
_PHOTO = (375, 500)


@dataclass(frozen=True)
class Memory:
    """Bytes that one device holds during a step.

    Attributes:
        student: parameters, gradients and moments.
        teachers: their parameters, in the dtype that they compute in.
        activations: the input of each of the student's layers with parameters, which the backward pass needs, and the
            widest layer of a teacher; normalisation and activation functions are taken to keep nothing of their own.
        views: of student and teachers, float32.
    """

    student: int
    teachers: int
    activations: int
    views: int

    @property
    def total(self) -> int:
        """All of it; a library's workspaces and its copies are not in it."""
        return self.student + self.teachers + self.activations + self.views


def memory(spec: DistillSpec, student: Cost, teachers: Sequence[Cost]) -> Memory:
    """Estimate a device's memory for the whole batch."""
    parameter, activation = _parameter_bytes(spec), _BYTES[spec.precision]
    widest = max((teacher.largest for teacher in teachers), default=0)
    return Memory(
        student=checkpoint(spec, student) + parameter * student.trainable,
        teachers=sum(
            _BYTES[named.precision or spec.precision] * teacher.parameters
            for named, teacher in zip(spec.teachers, teachers, strict=True)
        ),
        activations=activation * spec.batch_size * (student.kept + widest),
        views=4 * 3 * spec.batch_size * sum(size**2 for size in (spec.views.size, *_other_views(spec))),
    )


def checkpoint(spec: DistillSpec, student: Cost) -> int:
    """Bytes of a checkpoint: the student's variables and the optimizer's moments; no teacher is in it."""
    from framework import optimizers

    kept = optimizers.make(spec.optimizer).moments.values()
    moment = sum(max(4, _parameter_bytes(spec)) if dtype is None else _BYTES[dtype] for dtype in kept)
    return _parameter_bytes(spec) * student.parameters + moment * student.trainable


def flops(spec: DistillSpec, student: Cost, teachers: Sequence[Cost]) -> int:
    """Floating-point operations of one example in one step: a backward pass counts as two forward passes."""
    return 2 * (3 * student.macs + (0 if spec.scheme.averaged else sum(teacher.macs for teacher in teachers)))


def evaluation_macs(spec: DistillSpec, counts: Counts, student: int, teacher: int) -> int:
    """Multiply-adds of all evaluations of a run: before it, along the way, and of all splits at its end.

    Args:
        spec: the distillation.
        counts: of its data.
        student, teacher: of one forward pass; a teacher answers each image once.
    """
    sizes = {
        "train": min(spec.evaluation.train_subset, counts.train),
        "validation": counts.validation or 0,
        "test": counts.test or 0,
    }
    along_the_way = max(0, spec.evaluation.num_times - 1) * sum(sizes[split] for split in spec.evaluation.splits)
    every = sum(sizes.values())
    return student * (2 * every - sizes["train"] + along_the_way) + teacher * every


def target_flops(spec: DistillSpec, num_examples: int, teachers: Sequence[Cost]) -> int:
    """Floating-point operations of the targets that are made before the training, where the teaching does so."""
    each = 2 * spec.views.target_crops * sum(teacher.macs for teacher in teachers)
    return each * num_examples if spec.scheme.averaged else 0


def timed_batch(spec: DistillSpec, student: Cost, teachers: Sequence[Cost], device: Device) -> int:
    """How many examples a timed step has: the whole batch on an accelerator, fewer where a CPU would take long."""
    if device.kind != "cpu":
        return spec.batch_size
    fitting = int(_CPU_FLOPS / max(1, flops(spec, student, teachers)))
    return min(spec.batch_size, max(2, 2 ** (fitting.bit_length() - 1) if fitting else 2))


def available_memory() -> int | None:
    """Bytes of this machine's memory that are free for use; None where that can't be read."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


class RandomSource:
    """A `Source` of noise, for timing; images are `side` x `side`, or of a photograph's size where it is None."""

    def __init__(self, num_examples: int, num_classes: int, side: int | None) -> None:
        self.name, self.fingerprint = "noise", "noise"
        self.num_examples = num_examples
        self.classes: tuple[str, ...] | None = tuple(map(str, range(num_classes)))
        self.num_classes = num_classes
        size = (side, side) if side else _PHOTO
        self.uniform: tuple[int, int] | None = size
        self._image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)

    def images(self, ids: Array) -> Any:
        return np.broadcast_to(self._image, (len(ids), *self._image.shape)).copy()

    def sizes(self, ids: Array) -> Array:
        return np.broadcast_to(np.array(self._image.shape[:2], np.int32), (len(ids), 2))

    def labels(self, ids: Array) -> Array:
        return (ids % self.num_classes).astype(np.int32)


def _other_views(spec: DistillSpec) -> tuple[int, ...]:
    """The sides of the teachers' views that are not the student's own pixels."""
    shared = spec.scheme.shared
    return tuple(size for size in spec.view_sizes if not (shared and size == spec.views.size))


def _parameter_bytes(spec: DistillSpec) -> int:
    return _BYTES["float32" if spec.precision == "mixed_bfloat16" else spec.precision]

"""Which students can share a teacher's pass, and how many of them fit in memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import TypeVar

from backends.base import Device
from experiments.distillation.prepare import Common, num_logits
from experiments.planning import estimates
from framework.errors import UserError
from framework.spec import DistillSpec

T = TypeVar("T")

# What differs between students of one group: nothing in it changes data, views or teachers.
_OWN = ("student", "init_seed", "optimizer", "schedule", "loss", "duration")
# Each student is a run within the run of the one before it, which Python's stack bounds.
LARGEST = 32
# What an estimate may take of the memory that is free.
_SHARE = 0.8


def grouped(specs: Sequence[DistillSpec]) -> list[list[int]]:
    """The places of the specs that share, group by group.

    Raises:
        UserError: float64 beside other precisions.
    """
    precisions = {spec.precision for spec in specs}
    if "float64" in precisions and len(precisions) > 1:
        raise UserError(
            "precision = float64 can't be swept beside others: it changes the process for good; sweep it alone"
        )
    groups: dict[str, list[int]] = {}
    for place, spec in enumerate(specs):
        shared = {name: value for name, value in spec.to_dict().items() if name not in _OWN}
        groups.setdefault(json.dumps(shared, sort_keys=True), []).append(place)
    return list(groups.values())


def parted(items: Sequence[T], size: int) -> list[list[T]]:
    """As few parts as are needed, of about equal size.

    >>> parted("abcde", 3)
    [['a', 'b', 'c'], ['d', 'e']]
    """
    count = -(-len(items) // size)
    bounds = [-(-len(items) * place // count) for place in range(count + 1)]
    return [list(items[start:stop]) for start, stop in itertools.pairwise(bounds)]


def check_size(size: int | None) -> None:
    """Refuse a `--group-size` that can't be.

    Raises:
        UserError: it is out of range.
    """
    if size is not None and not 1 <= size <= LARGEST:
        raise UserError(f"--group-size {size}: must be 1 to {LARGEST}")


def memories(specs: Sequence[DistillSpec], common: Common) -> list[estimates.Memory]:
    """What each student's run would take alone.

    Raises:
        UserError: a student that can't be built.
    """
    # It imports Keras, which needs the backend to be loaded.
    from framework.models import cost

    teachers = [cost.of(teacher.model) for teacher in common.teachers]
    found = []
    for spec in specs:
        model = cost.outline(spec.student.name, spec.student.options, num_logits(common), spec.views.size)
        found.append(estimates.memory(spec, cost.of(model), teachers))
    return found


def fitting(memories: Sequence[estimates.Memory], device: Device) -> int:
    """How many students fit on a device together: at least 1, at most `LARGEST`.

    Args:
        memories: of each student's run alone.
        device: where they are trained; where its memory is not known, all of them fit.
    """
    free = estimates.available_memory() if device.kind == "cpu" else device.memory
    if free is None:
        return LARGEST
    count = 0
    while count < min(len(memories), LARGEST) and together(memories[: count + 1]) < _SHARE * free:
        count += 1
    return max(1, count if count < len(memories) else LARGEST)


def together(memories: Sequence[estimates.Memory]) -> int:
    """Bytes of a group: teachers and views once, each student's own, and the activations of one at a time."""
    largest = max(each.activations for each in memories)
    return memories[0].teachers + memories[0].views + largest + sum(each.student for each in memories)

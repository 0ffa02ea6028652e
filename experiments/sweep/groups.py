"""Which students can share a teacher's pass, and how many of them fit in memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import TypeVar

from backends.base import Device
from experiments.planning import estimates
from framework.errors import UserError, near
from framework.spec import DistillSpec

T = TypeVar("T")

# What differs between students of one group: nothing in it changes data, views or teachers.
OWN = ("student", "init_seed", "optimizer", "schedule", "loss", "duration")
# Each student is a run within the run of the one before it, which Python's stack bounds.
LARGEST = 32
# What an estimate may take of the memory that is free.
_SHARE = 0.8


def key_of(spec: DistillSpec) -> str:
    """Equal for students that can share a teacher's pass."""
    shared = {name: value for name, value in spec.to_dict().items() if name not in OWN}
    return json.dumps(shared, sort_keys=True)


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
        groups.setdefault(key_of(spec), []).append(place)
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


def select(name: str | None, has_labels: bool) -> str:
    """What the best is chosen by: a name of `loop.saving.BEST_BY`; None takes accuracy where there are labels."""
    from framework.loop.saving import BEST_BY

    if name is not None and name not in BEST_BY:
        raise UserError(f"--select {name!r}: {near(name, BEST_BY)}")
    return name or ("accuracy" if has_labels else "kl")

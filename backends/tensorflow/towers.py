"""Several devices of one process: each computes its part of a batch, in one function that TensorFlow spreads over them.

What a device has of its own, inputs and what comes of them, stands in lists, one entry for each device. The variables
are those of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from backends.base import Device
from backends.hooks import Tensors, Tree
from backends.tensorflow.trainer import TensorFlowTrainer
from framework.errors import UserError
from framework.inputs import Inputs
from framework.protocols import EvalBatch
from framework.task import Task


class TowersTrainer(TensorFlowTrainer):
    """As its parent, on all devices of a process."""

    def __init__(self, task: Task, device: Device, jit: bool | None = None) -> None:
        if task.norms_whole:
            size = task.spec.batch_size // device.count
            raise UserError(
                f"devices = {device.count}: the student's BatchNorm looks at a whole batch, and this backend then "
                f"wants a process for each device; or take batch_norm_size={size}"
            )
        self._devices = device.all
        super().__init__(task, device, jit)

    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        if function == self.updated:
            return super().compiled(function, *held)

        def each(*inputs: Any) -> list[Any]:
            kept, given = inputs[: len(held)], inputs[len(held) :]
            parts = zip(*given, strict=True) if given else [()] * len(self._devices)
            return self._each(lambda own: function(*kept, *own), parts)

        return super().compiled(each, *held)

    def updated(self, carry: Tree, total: Any, seen: Any, scalars: Tensors) -> tuple[Tree | None, Tensors]:
        return super().updated(carry, None if total is None else self._sum(total), seen, scalars)

    def weighed(self, carry: Tree, seen: Any) -> tuple[list[Any], Sequence[Any]]:
        if not isinstance(seen, (list, tuple)):
            return super().weighed(carry, seen)
        found = self._each(lambda own: super(TowersTrainer, self).weighed(carry, own)[0], seen)
        return self._sum(found), carry["buffers"]

    def fed(self, parts: Sequence[Inputs]) -> Tree:
        return self._each(self.put, parts)

    def apart(self, tree: Tree) -> Sequence[Tree]:
        return list(tree)

    def _measured(self, batches: Iterable[EvalBatch]) -> Iterator[tuple[Sequence[EvalBatch], tuple[Tree, Tree]]]:
        for group, found in super()._measured(batches):
            yield group, ([sums for sums, _ in found], [answers for _, answers in found])

    def _sum(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """In the order of the devices."""
        total = list(found[0])
        for values in found[1:]:
            total = list(self.added(total, values))
        return total

    def _each(self, function: Callable[[Any], Any], parts: Iterable[Any]) -> list[Any]:
        """A function of what each device has, on that device."""
        found = []
        for place, part in zip(self._devices, parts, strict=True):
            with tf.device(place):
                found.append(function(part))
        return found


def trainer(task: Task, device: Device | None = None, jit: bool | None = None) -> TensorFlowTrainer:
    """A trainer for one device of this process, or for several."""
    if device is None or device.count == 1:
        return TensorFlowTrainer(task, device, jit)
    return TowersTrainer(task, device, jit)

"""Several steps in one call of a program, where the steps are small and the device is no CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np

from backends.base import Device
from backends.hooks import Tensors, Tree
from backends.jax.trainer import JaxTrainer
from framework.protocols import Batch, Seen
from framework.task import Task

# So many steps are done in one call of a program, where the inputs of all of them are so small.
_TOGETHER, _STACKED_BYTES = 32, 2**25


class Later:
    """One number of an array that a device is still computing."""

    def __init__(self, values: jax.Array, place: int) -> None:
        self._values, self._place = values, place

    def __float__(self) -> float:
        return float(np.asarray(self._values)[self._place])


class LoopTrainer(JaxTrainer):
    """As its parent, on one device."""

    def __init__(self, task: Task, device: Device | None = None, jit: bool | None = None) -> None:
        super().__init__(task, device, jit)
        self._many = self.compiled(self.many, "frozen", "carry", donated=1)
        # On a CPU a loop within a program is slower, and for large views a call costs nothing.
        small = _TOGETHER * 3 * task.spec.batch_size * task.spec.views.size**2 <= _STACKED_BYTES
        self.together = _TOGETHER if small and self.device.platform != "cpu" and jit is not False else 1

    def steps(self, batches: Sequence[Batch | Seen]) -> Sequence[Mapping[str, Any]]:
        """Always the same program, whatever their number: how a run is cut up changes no bit of it."""
        if self.together == 1 or any(not isinstance(batch, Batch) for batch in batches):
            return super().steps(batches)
        inputs, count = [self.task.micro_batches(cast(Batch, batch)) for batch in batches], len(batches)
        numbers = [min(number, count - 1) for number in range(self.together)]
        scalars = [self.task.scalars(self.steps_done + number) for number in range(count)]
        stacked = [jax.tree.map(lambda *each: np.stack(each), *(of[i] for i in numbers)) for of in (inputs, scalars)]
        carry, metrics = self._many(*self.put([*stacked, np.int32(count)]))
        self._keep(carry)
        self.steps_done += count
        return [{name: Later(values, number) for name, values in metrics.items()} for number in range(count)]

    def many(
        self, frozen: Tree, carry: Tree, inputs: Tree, scalars: Tensors, count: jax.Array
    ) -> tuple[Tree, Mapping[str, jax.Array]]:
        """The state after `count` steps, and their metrics in arrays; the leaves of the rest are stacked steps."""

        def one(number: jax.Array, state: tuple[Tree, Tensors]) -> tuple[Tree, Tensors]:
            carry, metrics = state
            parts, values = jax.tree.map(lambda each: each[number], (inputs, scalars))
            *others, last = [self.seen(frozen, part) for part in parts]
            total: Sequence[Any] = self.nothing(carry) if others else []
            for part in others:
                total = self.gathered(carry, total, part)
            new, found = self.updated(carry, total or None, last, values)
            return new, {name: metrics[name].at[number].set(value) for name, value in found.items()}

        nothing = jax.numpy.zeros(self.together, self.task.dtype)
        return jax.lax.fori_loop(0, count, one, (carry, {"loss": nothing, "grad_norm": nothing}))

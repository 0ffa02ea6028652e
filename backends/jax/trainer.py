"""A spec compiled with JAX: one jitted update whose state is donated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, cast

import jax
import keras
import numpy as np

from backends.base import Device
from backends.state import Carry
from backends.trainer import COMPILING, EngineTrainer, Gradients, Tensors, Tree
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


class JaxTrainer(EngineTrainer):
    """The state lives in `carry`; the models' own variables only say its shapes."""

    first_step = COMPILING

    def __init__(self, task: Task, device: Device | None = None, jit: bool | None = None) -> None:
        super().__init__(task, device, jit)
        self._many = self.compiled(self.many, "frozen", "carry", donated=1)
        # On a CPU a loop within a program is slower, and for large views a call costs nothing.
        small = _TOGETHER * 3 * task.spec.batch_size * task.spec.views.size**2 <= _STACKED_BYTES
        self.together = _TOGETHER if small and self.device.platform != "cpu" and jit is not False else 1

    def placed(self, device: Device | None) -> jax.Device:
        return device.handle if device else jax.local_devices()[0]

    def carried(self, initial: Carry) -> Tree:
        return self.put(initial)

    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        """Jitted unless `jit` is False."""
        program = (
            function if self.jit is False else jax.jit(function, donate_argnums=() if donated is None else donated)
        )
        return wraps(program)(self.holding(program, *held))

    def _steps(self, batches: Sequence[Batch | Seen]) -> Sequence[Mapping[str, Any]]:
        """Always the same program, whatever their number: how a run is cut up changes no bit of it."""
        if self.together == 1 or any(not isinstance(batch, Batch) for batch in batches):
            return super()._steps(batches)
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
            total: Sequence[Any] = self._nothing(carry) if others else []
            for part in others:
                total = self.gathered(carry, total, part)
            new, found = self.updated(carry, total or None, last, values)
            return new, {name: metrics[name].at[number].set(value) for name, value in found.items()}

        nothing = jax.numpy.zeros(self.together, self.task.dtype)
        return jax.lax.fori_loop(0, count, one, (carry, {"loss": nothing, "grad_norm": nothing}))

    def gradients(self, carry: Tree, seen: Tensors) -> Gradients:
        def loss_of(params: Tree) -> tuple[jax.Array, Tree]:
            logits, buffers = _call(self, params, carry["buffers"], seen["view"], training=True)
            return self.loss(logits, seen), (logits, buffers)

        (loss, (logits, buffers)), grads = jax.value_and_grad(loss_of, has_aux=True)(carry["params"])
        return loss, logits, buffers, grads

    def put(self, tree: Tree) -> Tree:
        return jax.device_put(tree, self.device)

    def host(self, tree: Tree) -> Tree:
        # On a CPU `np.asarray` would alias a buffer that the next step donates.
        return jax.tree.map(np.array, tree)

    def stored(self, carry: Tree, new: Tree) -> Tree:
        return new

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)

    def intact(self) -> bool:
        return not any(array.is_deleted() for array in jax.tree.leaves(self.carry))

    def student_logits(self, carry: Tree, view: jax.Array) -> jax.Array:
        return _call(self, carry["params"], carry["buffers"], view, training=False)[0]

    def frozen_values(self, teacher: Any) -> list[Any]:
        """The values of its variables, in their order."""
        super().frozen_values(teacher)
        return self.put([variable.value for variable in teacher.variables])

    def teacher_logits(self, teacher: Any, values: Sequence[jax.Array], view: jax.Array) -> jax.Array:
        with keras.StatelessScope(state_mapping=zip(teacher.variables, values, strict=True)):
            return jax.lax.stop_gradient(self.called(teacher, view, training=False))


def _call(
    trainer: JaxTrainer, params: Sequence[jax.Array], buffers: Sequence[jax.Array], view: jax.Array, training: bool
) -> tuple[jax.Array, list[jax.Array]]:
    """The student's logits with the values of its variables given, and the values of its buffers afterwards.

    Keras's own `stateless_call` leaves out `__call__`, and with it the hint by which inner layers know that they train.
    """
    model = trainer.task.student
    trainable, others = model.trainable_variables, model.non_trainable_variables
    values = [*zip(trainable, params, strict=True), *zip(others, buffers, strict=True)]
    with keras.StatelessScope(state_mapping=values) as scope:
        logits = trainer.called(model, view, training)
    return logits, [scope.get_current_value(variable) for variable in others]

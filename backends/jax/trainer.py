"""A spec compiled with JAX: one jitted update whose state is donated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax
import keras
import numpy as np

from backends.base import Device
from backends.hooks import COMPILING, Gradients, Tensors, Tree
from backends.state import Carry
from backends.trainer import BackendTrainer


class JaxTrainer(BackendTrainer):
    """The state lives in `carry`; the models' own variables only say its shapes."""

    first_step = COMPILING

    def placed(self, device: Device | None) -> jax.Device:
        return device.handle if device else jax.local_devices()[0]

    def carried(self, initial: Carry) -> Tree:
        return self.put(initial)

    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        """Jitted unless `jit` is False."""
        program = function if self.jit is False else jax.jit(function, donate_argnums=donated)
        return wraps(program)(self.holding(program, *held))

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

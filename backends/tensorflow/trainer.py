"""A spec compiled with TensorFlow: one `tf.function` over the Keras model's variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from backends.base import Device
from backends.hooks import Gradients, Tensors, Tree
from backends.state import Carry, mapped, pairs
from backends.trainer import BackendTrainer


class TensorFlowTrainer(BackendTrainer):
    """The parameters and buffers of `carry` are the student's own, in place; with XLA if `jit` is True."""

    first_step = "compiling the step (TensorFlow keeps none for the next run)"

    # The sums over devices that a step's program has, counted while it is traced: each has a key of its own.
    _sums = 2

    def reduced(self, values: Sequence[Any]) -> Sequence[Any]:
        if self.task.world.size == 1:
            return values
        for dtype in {value.dtype: None for value in values}:
            own = [value for value in values if value.dtype == dtype]
            flat = self._everywhere(tf.concat([tf.reshape(value, [-1]) for value in own], 0), 1)
            pieces = iter(tf.split(flat, [int(value.shape.num_elements()) for value in own]))
            values = [tf.reshape(next(pieces), value.shape) if value.dtype == dtype else value for value in values]
        return values

    def summed(self, own: Any) -> Any:
        self._sums += 2
        key = self._sums

        @tf.custom_gradient
        def total(value: Any) -> Any:
            return self._everywhere(value, key), lambda grad: self._everywhere(grad, key + 1)

        return total(own)

    def _everywhere(self, value: Any, key: int) -> Any:
        world = self.task.world
        return tf.raw_ops.CollectiveReduceV2(
            input=value,
            group_size=world.size,
            group_key=1,
            instance_key=key,
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
            timeout_seconds=world.patience,
        )

    def placed(self, device: Device | None) -> str:
        return device.handle if device else "/CPU:0"

    def carried(self, initial: Carry) -> Tree:
        params = [variable.value for variable in self.task.student.trainable_variables]
        buffers = [variable.value for variable in self.task.student.non_trainable_variables]
        moments = {
            name: [tf.Variable(array, trainable=False) for array in arrays]
            for name, arrays in initial["moments"].items()
        }
        return {"params": params, "buffers": buffers, "moments": moments}

    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        # What is held is captured: given at each call, hundreds of variables would be looked at. And a function object
        # of each trainer's own: TensorFlow takes those of several for one that is traced too often.
        return tf.function(self.holding(function, *held), jit_compile=self.jit is True, autograph=False)

    def gradients(self, carry: Tree, seen: Tensors) -> Gradients:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(carry["params"])
            logits = self.called(self.task.student, seen["view"], training=True)
            loss = self.loss(logits, seen)
        return loss, logits, carry["buffers"], tape.gradient(loss, carry["params"])

    def put(self, tree: Tree) -> Tree:
        return mapped(tf.convert_to_tensor, tree)

    def host(self, tree: Tree) -> Tree:
        return mapped(lambda tensor: np.array(tensor.numpy()), tree)

    def stored(self, carry: Tree, new: Tree) -> None:
        for variable, value in pairs(carry, new):
            variable.assign(value)

    def there(self) -> AbstractContextManager[Any]:
        return tf.device(self.device)

    def values(self, carry: Tree) -> Tree:
        return mapped(tf.convert_to_tensor, carry)

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, tf.errors.ResourceExhaustedError)

    def frozen_values(self, teacher: Any) -> Tree:
        # Outside of the function that asks for them first.
        with tf.init_scope(), tf.device(self.device):
            return super().frozen_values(teacher)

    def replace(self, variable: Any, value: tf.Tensor) -> None:
        variable._value = tf.Variable(value, trainable=False)

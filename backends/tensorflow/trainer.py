"""A spec compiled with TensorFlow: one `tf.function` over the Keras model's variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from backends.base import Device
from backends.state import StateNames
from framework import evaluation
from framework.models.layers import standardised, standardised_kernels
from framework.protocols import Array, Batch, EvalBatch
from framework.spec import DistillSpec
from framework.task import Task, mode

Tensor = Any


class TensorFlowTrainer:
    """See `framework.protocols.Trainer`; the state lives in the student's own variables and in `_moments`."""

    def __init__(self, task: Task, device: str, jit: bool) -> None:
        self.task, self.device = task, device
        self.names = StateNames(task)
        self.steps_done = 0
        self._params = [variable.value for variable in task.student.trainable_variables]
        self._buffers = [variable.value for variable in task.student.non_trainable_variables]
        with tf.device(device):
            moments = self.names.initial()["moments"]
            self._moments = {
                name: [tf.Variable(array, trainable=False) for array in arrays] for name, arrays in moments.items()
            }
            self._kernels = [standardised_kernels(teacher) for teacher in task.teachers]
        self._update = tf.function(self._update_of, jit_compile=jit, autograph=False)
        self._sums = tf.function(self._sums_of, jit_compile=jit, autograph=False)
        self._targets = tf.function(self._targets_of, jit_compile=jit, autograph=False)

    def step(self, batch: Batch) -> Mapping[str, Any]:
        metrics = self._update(self._inputs(self.task.inputs(batch, self.steps_done)))
        self.steps_done += 1
        return metrics

    def evaluate(self, batches: Iterable[EvalBatch]) -> dict[str, float]:
        return evaluation.means([self._sums(self._inputs(self.task.eval_inputs(batch))) for batch in batches])

    def probe(self, batch: Batch) -> dict[str, Array]:
        before = _hosts(self._buffers)
        loss, (logits, views, teachers), grads = self._gradients(self._inputs(self.task.inputs(batch, self.steps_done)))
        _fill(self._buffers, before)
        loss, logits = _hosts([loss, logits])
        return self.names.probed(loss, _hosts(views), logits, _hosts(teachers), _hosts(grads))

    def teach(self, batch: Batch) -> list[Array]:
        return _hosts(self._targets(self._inputs(self.task.shown(batch))))

    def state(self) -> dict[str, Array]:
        moments = {name: _hosts(tensors) for name, tensors in self._moments.items()}
        carry = {"params": _hosts(self._params), "buffers": _hosts(self._buffers), "moments": moments}
        return self.names.flat(carry, self.steps_done)

    def restore(self, state: Mapping[str, Array]) -> None:
        carry, self.steps_done = self.names.nested(state)
        _fill(self._params, carry["params"])
        _fill(self._buffers, carry["buffers"])
        for name, variables in self._moments.items():
            _fill(variables, carry["moments"][name])

    def _update_of(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        loss, _, grads = self._gradients(inputs)
        params, moments, norm = self.task.optimizer.update(
            [tf.convert_to_tensor(param) for param in self._params],
            grads,
            {name: [tf.convert_to_tensor(each) for each in variables] for name, variables in self._moments.items()},
            self.task.decayed,
            self.task.scalars(inputs),
        )
        _fill(self._params, params)
        for name, variables in self._moments.items():
            _fill(variables, moments[name])
        return {"loss": loss, "grad_norm": norm}

    def _gradients(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Any, Any, Any], Sequence[Tensor]]:
        views = self.task.views(inputs)
        teachers = self.task.targets(inputs) or self._teach(views[1:])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._params)
            logits = self.task.student(views[0], **mode(self.task.student, True))
            loss = self.task.loss(logits, teachers, inputs)
        return loss, (logits, views, teachers), tape.gradient(loss, self._params)

    def _targets_of(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        return self._teach(self.task.views(inputs)[1:])

    def _teach(self, views: Sequence[Tensor]) -> list[Tensor]:
        models = zip(self.task.teachers, self._kernels, self.task.teacher_views(views), strict=True)
        return [_taught(teacher, kernels, view) for teacher, kernels, view in models]

    def _sums_of(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        view, *others = self.task.eval_views(inputs)
        logits = self.task.student(view, **mode(self.task.student, False))
        return self.task.eval_sums(logits, self.task.targets(inputs) or self._teach(others), inputs)

    def _inputs(self, arrays: Mapping[str, Array]) -> dict[str, Tensor]:
        with tf.device(self.device):
            return {name: tf.convert_to_tensor(array) for name, array in arrays.items()}


def _taught(teacher: Any, kernels: Mapping[int, Tensor], view: Tensor) -> Tensor:
    with standardised(kernels):
        return teacher(view, **mode(teacher, False))


def _hosts(tensors: Iterable[Tensor]) -> list[Array]:
    return [np.array(tensor.numpy()) for tensor in tensors]


def _fill(variables: Sequence[Tensor], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def compile(
    spec: DistillSpec,
    student: Any,
    teachers: Sequence[Any],
    *,
    total_steps: int,
    device: Device | None = None,
    jit: bool | None = None,
) -> TensorFlowTrainer:
    """Make a trainer; see `backends.base.Compile`. It is a `tf.function`; `jit` True compiles that with XLA."""
    handle = device.handle if device else "/CPU:0"
    return TensorFlowTrainer(Task(spec, student, teachers, total_steps), handle, jit is True)

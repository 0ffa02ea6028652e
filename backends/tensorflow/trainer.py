"""A spec compiled with TensorFlow: one `tf.function` over the Keras model's variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import tensorflow as tf

from backends.base import Device
from backends.state import StateNames
from framework import evaluation
from framework.models.layers import standardised, standardised_kernels
from framework.protocols import Array, Batch, EvalBatch, Seen
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

        def compile_(function: Callable[..., Any]) -> Any:
            # A function object for each trainer: TensorFlow takes those of several for one that is traced too often.
            return tf.function(partial(function), jit_compile=jit, autograph=False)

        self._see = compile_(self._seen_of)
        self._update = compile_(self._update_of)
        self._gather = compile_(self._gathered_of)
        self._sums = compile_(self._sums_of)
        self._targets = compile_(self._targets_of)

    @cached_property
    def _kernels(self) -> list[dict[int, Tensor]]:
        """Each teacher's standardised kernels; a trainer that is given what teachers say never makes them."""
        # Outside of the function that asks for them first.
        with tf.init_scope(), tf.device(self.device):
            return [standardised_kernels(teacher) for teacher in self.task.teachers]

    def see(self, batch: Batch) -> Seen:
        return [self._see(self._inputs(part)) for part in self.task.parts(batch)]

    def step(self, batch: Batch | Seen) -> Mapping[str, Any]:
        *others, last = self.see(batch) if isinstance(batch, Batch) else batch
        gathered = self._nothing() if others else None
        for part in others:
            gathered = self._gather(gathered, part)
        metrics = self._update(gathered, last, self._inputs(self.task.scalars(self.steps_done)))
        self.steps_done += 1
        return metrics

    def evaluate(self, batches: Iterable[EvalBatch]) -> dict[str, float]:
        return evaluation.means([self._sums(self._inputs(self.task.eval_inputs(batch))) for batch in batches])

    def probe(self, batch: Batch) -> dict[str, Array]:
        before = _hosts(self._buffers)
        parts = []
        for inputs in map(self._inputs, self.task.parts(batch)):
            seen = self._seen_of(inputs)
            loss, logits, grads = self._gradients_of(seen)
            views, teachers = self.task.views(inputs), self.task.taught(seen)
            [loss, logits] = _hosts([loss, logits])
            parts.append((loss, _hosts(views), logits, _hosts(teachers), _hosts(grads)))
        _fill(self._buffers, before)
        return self.names.probed(parts)

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

    def _seen_of(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        views = self.task.views(inputs)
        teachers = self.task.targets(inputs) or self._teach(views[1:])
        return self.task.seen(views, teachers, inputs)

    def _update_of(
        self, gathered: list[Tensor] | None, seen: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        loss, _, grads = self._gradients_of(seen)
        if gathered is not None:
            loss, *grads = [each / self.task.grad_accum_steps for each in _sums(gathered, [loss, *grads])]
        params, moments, norm = self.task.optimizer.update(
            [tf.convert_to_tensor(param) for param in self._params],
            grads,
            {name: [tf.convert_to_tensor(each) for each in variables] for name, variables in self._moments.items()},
            self.task.decayed,
            scalars,
        )
        _fill(self._params, params)
        for name, variables in self._moments.items():
            _fill(variables, moments[name])
        return {"loss": loss, "grad_norm": norm}

    def _gathered_of(self, gathered: list[Tensor], seen: Mapping[str, Tensor]) -> list[Tensor]:
        loss, _, grads = self._gradients_of(seen)
        return _sums(gathered, [loss, *grads])

    def _nothing(self) -> list[Tensor]:
        """A loss and gradients of zero, in float32 at least."""
        kinds = [tf.float64 if param.dtype == tf.float64 else tf.float32 for param in self._params]
        with tf.device(self.device):
            wide = [tf.zeros(param.shape, kind) for param, kind in zip(self._params, kinds, strict=True)]
            return [tf.zeros((), self.task.dtype), *wide]

    def _gradients_of(self, seen: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._params)
            logits = self.task.student(seen["view"], **mode(self.task.student, True))
            loss = self.task.loss(logits, self.task.taught(seen), seen)
        return loss, logits, tape.gradient(loss, self._params)

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


def _sums(totals: Sequence[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
    return [total + tf.cast(value, total.dtype) for total, value in zip(totals, values, strict=True)]


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
    grad_accum_steps: int = 1,
) -> TensorFlowTrainer:
    """Make a trainer; see `backends.base.Compile`. It is a `tf.function`; `jit` True compiles that with XLA."""
    handle = device.handle if device else "/CPU:0"
    return TensorFlowTrainer(Task(spec, student, teachers, total_steps, grad_accum_steps), handle, jit is True)

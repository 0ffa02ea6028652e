"""A spec compiled with PyTorch: a native autograd step over the Keras model, updated in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch

from backends.base import Device
from backends.state import StateNames
from backends.torch.kernels import channels_last
from framework import evaluation
from framework.models.layers import call_directly, is_direct, standardised, standardised_kernels
from framework.protocols import Array, Batch, EvalBatch
from framework.spec import DistillSpec
from framework.task import Task, mode

Tensor: TypeAlias = torch.Tensor


class TorchTrainer:
    """See `framework.protocols.Trainer`; the state lives in the student's own variables and in `_moments`."""

    def __init__(self, task: Task, device: torch.device, jit: bool) -> None:
        self.task, self.device = task, device
        self.names = StateNames(task)
        self.steps_done = 0
        for model in (task.student, *task.teachers):
            model.to(device)
            lay_out(model)
        for teacher in task.teachers:
            teacher.requires_grad_(False)
        with torch.no_grad():
            self._kernels = [standardised_kernels(teacher) for teacher in task.teachers]
        self._params = [variable.value for variable in task.student.trainable_variables]
        self._buffers = [variable.value for variable in task.student.non_trainable_variables]
        moments = self.names.initial()["moments"]
        self._moments = {
            name: [self._tensor_like(param, array) for param, array in zip(self._params, arrays, strict=True)]
            for name, arrays in moments.items()
        }
        # A compiled step has nothing to gain from it.
        self._direct = {id(model) for model in (task.student, *task.teachers) if is_direct(model) and not jit}
        self._forward = torch.compile(self._loss_of) if jit else self._loss_of

    def step(self, batch: Batch) -> Mapping[str, Any]:
        inputs = self._inputs(self.task.inputs(batch, self.steps_done))
        loss, _ = self._forward(inputs)
        grads = torch.autograd.grad(loss, self._params)
        norm = self._update(grads, inputs)
        self.steps_done += 1
        return {"loss": loss.detach(), "grad_norm": norm}

    @torch.no_grad()
    def evaluate(self, batches: Iterable[EvalBatch]) -> dict[str, float]:
        return evaluation.means([self._sums(self._inputs(self.task.eval_inputs(batch))) for batch in batches])

    def probe(self, batch: Batch) -> dict[str, Array]:
        before = [_host(buffer) for buffer in self._buffers]
        loss, (logits, views, teachers) = self._loss_of(self._inputs(self.task.inputs(batch, self.steps_done)))
        grads = [_host(grad) for grad in torch.autograd.grad(loss, self._params)]
        self._fill(self._buffers, before)
        return self.names.probed(_host(loss), _hosts(views), _host(logits), _hosts(teachers), grads)

    @torch.no_grad()
    def teach(self, batch: Batch) -> list[Array]:
        inputs = self._inputs(self.task.shown(batch))
        return _hosts(self._teach(self.task.views(inputs)[1:]))

    def state(self) -> dict[str, Array]:
        moments = {name: _hosts(tensors) for name, tensors in self._moments.items()}
        carry = {"params": _hosts(self._params), "buffers": _hosts(self._buffers), "moments": moments}
        return self.names.flat(carry, self.steps_done)

    def restore(self, state: Mapping[str, Array]) -> None:
        carry, self.steps_done = self.names.nested(state)
        self._fill(self._params, carry["params"])
        self._fill(self._buffers, carry["buffers"])
        for name, tensors in self._moments.items():
            self._fill(tensors, carry["moments"][name])

    def _loss_of(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Sequence[Tensor], list[Tensor]]]:
        with torch.no_grad():
            views = self.task.views(inputs)
            teachers = self.task.targets(inputs) or self._teach(views[1:])
        logits = self._call(self.task.student, views[0], True)
        return self.task.loss(logits, teachers, inputs), (logits, views, teachers)

    def _teach(self, views: Sequence[Tensor]) -> list[Tensor]:
        models = zip(self.task.teachers, self._kernels, self.task.teacher_views(views), strict=True)
        taught = []
        for teacher, kernels, view in models:
            with standardised(kernels):
                taught.append(self._call(teacher, view, False))
        return taught

    def _call(self, model: Any, view: Tensor, training: bool) -> Tensor:
        return call_directly(model, view) if id(model) in self._direct else model(view, **mode(model, training))

    @torch.no_grad()
    def _update(self, grads: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        scalars = self.task.scalars(inputs)
        params, moments, norm = self.task.optimizer.update(
            self._params, grads, self._moments, self.task.decayed, scalars
        )
        # A kernel that works in place returns the very tensors that it was given.
        self._take(self._params, params)
        for name, tensors in self._moments.items():
            self._take(tensors, moments[name])
        return norm

    @staticmethod
    def _take(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        for target, value in zip(targets, values, strict=True):
            if value is not target:
                target.copy_(value)

    @torch.no_grad()
    def _fill(self, targets: Sequence[Tensor], arrays: Sequence[Array]) -> None:
        for target, array in zip(targets, arrays, strict=True):
            target.copy_(self._tensor(array))

    def _sums(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        view, *others = self.task.eval_views(inputs)
        logits = self._call(self.task.student, view, False)
        teachers = self.task.targets(inputs) or self._teach(others)
        return {name: _host(value) for name, value in self.task.eval_sums(logits, teachers, inputs).items()}

    def _inputs(self, arrays: Mapping[str, Array]) -> dict[str, Tensor]:
        return {name: self._tensor(array) for name, array in arrays.items()}

    def _tensor_like(self, param: Tensor, array: Array) -> Tensor:
        """An array as a tensor in the memory layout of a parameter, or the optimizer would take a slow path."""
        tensor = self._tensor(array)
        return torch.empty_like(param, dtype=tensor.dtype, requires_grad=False).copy_(tensor)

    def _tensor(self, array: Array) -> Tensor:
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(self.device, copy=True)
        return torch.as_tensor(array).to(self.device, non_blocking=True)


def lay_out(model: Any) -> None:
    """Bring a model's convolution kernels into `channels_last` memory; what they are stays."""
    for variable in model.variables:
        parameter = variable.value
        if parameter.ndim == 4:
            parameter.data = channels_last(parameter.data)


def _host(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return tensor.numpy().copy()


def _hosts(tensors: Iterable[Tensor]) -> list[Array]:
    return [_host(tensor) for tensor in tensors]


def compile(
    spec: DistillSpec,
    student: Any,
    teachers: Sequence[Any],
    *,
    total_steps: int,
    device: Device | None = None,
    jit: bool | None = None,
) -> TorchTrainer:
    """Make a trainer; see `backends.base.Compile`. Eager unless `jit` is True: then `torch.compile`."""
    handle = device.handle if device else torch.device("cpu")
    return TorchTrainer(Task(spec, student, teachers, total_steps), handle, jit is True)

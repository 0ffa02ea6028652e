"""A spec compiled with PyTorch: a native autograd step over the Keras model, updated in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch

from backends.base import Device
from backends.state import StateNames
from backends.torch.kernels import channels_last
from framework import evaluation
from framework.models.layers import call_directly, is_direct, standardised, standardised_kernels
from framework.protocols import Array, Batch, EvalBatch, Seen
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
        self._params = [variable.value for variable in task.student.trainable_variables]
        self._buffers = [variable.value for variable in task.student.non_trainable_variables]
        moments = self.names.initial()["moments"]
        self._moments = {
            name: [self._tensor_like(param, array) for param, array in zip(self._params, arrays, strict=True)]
            for name, arrays in moments.items()
        }
        # A compiled step has nothing to gain from it.
        self._direct = {id(model) for model in (task.student, *task.teachers) if is_direct(model) and not jit}
        compile_ = torch.compile if jit else lambda function: function
        self._see: Callable[..., dict[str, Tensor]] = compile_(self._seen_of)
        self._forward: Callable[..., tuple[Tensor, Tensor]] = compile_(self._loss_of)

    @cached_property
    @torch.no_grad()
    def _kernels(self) -> list[dict[int, Tensor]]:
        """Each teacher's standardised kernels; a trainer that is given what teachers say never makes them."""
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

    @torch.no_grad()
    def evaluate(self, batches: Iterable[EvalBatch]) -> dict[str, float]:
        return evaluation.means([self._sums(self._inputs(self.task.eval_inputs(batch))) for batch in batches])

    def probe(self, batch: Batch) -> dict[str, Array]:
        before = [_host(buffer) for buffer in self._buffers]
        parts = []
        for inputs in map(self._inputs, self.task.parts(batch)):
            seen = self._seen_of(inputs)
            loss, logits, grads = self._gradients(seen)
            views, teachers = self.task.views(inputs), self.task.taught(seen)
            parts.append((_host(loss), _hosts(views), _host(logits), _hosts(teachers), _hosts(grads)))
        self._fill(self._buffers, before)
        return self.names.probed(parts)

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

    @torch.no_grad()
    def _seen_of(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        views = self.task.views(inputs)
        teachers = self.task.targets(inputs) or self._teach(views[1:])
        return self.task.seen(views, teachers, inputs)

    @torch.no_grad()
    def _update(
        self, gathered: list[Tensor] | None, seen: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        loss, _, grads = self._gradients(seen)
        if gathered is not None:
            torch._foreach_add_(gathered, [loss, *grads])
            loss, *grads = torch._foreach_div(gathered, self.task.grad_accum_steps)
        params, moments, norm = self.task.optimizer.update(
            self._params, grads, self._moments, self.task.decayed, scalars
        )
        # A kernel that works in place returns the very tensors that it was given.
        self._take(self._params, params)
        for name, tensors in self._moments.items():
            self._take(tensors, moments[name])
        return {"loss": loss, "grad_norm": norm}

    def _gather(self, gathered: Any, seen: Mapping[str, Tensor]) -> list[Tensor]:
        loss, _, grads = self._gradients(seen)
        torch._foreach_add_(gathered, [loss, *grads])
        return gathered

    def _nothing(self) -> list[Tensor]:
        """A loss and gradients of zero, in float32 at least."""
        loss = torch.zeros((), dtype=getattr(torch, self.task.dtype), device=self.device)
        wide = [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for p in self._params]
        return [loss, *(each.detach() for each in wide)]

    def _gradients(self, seen: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        with torch.enable_grad():
            loss, logits = self._forward(seen)
            return loss.detach(), logits, list(torch.autograd.grad(loss, self._params))

    def _loss_of(self, seen: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self._call(self.task.student, seen["view"], True)
        return self.task.loss(logits, self.task.taught(seen), seen), logits

    def _teach(self, views: Sequence[Tensor]) -> list[Tensor]:
        models = zip(self.task.teachers, self._kernels, self.task.teacher_views(views), strict=True)
        taught = []
        for teacher, kernels, view in models:
            with standardised(kernels):
                taught.append(self._call(teacher, view, False))
        return taught

    def _call(self, model: Any, view: Tensor, training: bool) -> Tensor:
        return call_directly(model, view) if id(model) in self._direct else model(view, **mode(model, training))

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
    grad_accum_steps: int = 1,
) -> TorchTrainer:
    """Make a trainer; see `backends.base.Compile`. Eager unless `jit` is True: then `torch.compile`."""
    handle = device.handle if device else torch.device("cpu")
    return TorchTrainer(Task(spec, student, teachers, total_steps, grad_accum_steps), handle, jit is True)

"""A spec compiled with PyTorch: a native autograd step over the Keras model, updated in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch

from backends.base import Device
from backends.state import Carry, mapped, replaced
from backends.torch.kernels import channels_last
from backends.trainer import EngineTrainer, Gradients, Tensors, Tree
from framework.models.layers import call_directly, is_direct
from framework.protocols import Array
from framework.task import Task

Tensor: TypeAlias = torch.Tensor


class TorchTrainer(EngineTrainer):
    """The parameters and buffers of `carry` are the student's own, in place; eager unless `jit` is True."""

    def __init__(self, task: Task, device: Device | None = None, jit: bool | None = None) -> None:
        # A compiled step has nothing to gain from it.
        self._direct = {id(model) for model in (task.student, *task.teachers) if is_direct(model) and not jit}
        super().__init__(task, device, jit)
        for teacher in task.teachers:
            teacher.requires_grad_(False)
        self._forward = self._forward_of
        if jit:
            self._see, self._forward = torch.compile(self._see), torch.compile(self._forward)

    def placed(self, device: Device | None) -> torch.device:
        return device.handle if device else torch.device("cpu")

    def carried(self, initial: Carry) -> Tree:
        for model in (self.task.student, *self.task.teachers):
            model.to(self.device)
            lay_out(model)
        params = [variable.value for variable in self.task.student.trainable_variables]
        buffers = [variable.value for variable in self.task.student.non_trainable_variables]
        # In the parameters' memory layout, or the optimizer would take a slow path.
        moments = {name: list(map(_like, params, self.put(arrays))) for name, arrays in initial["moments"].items()}
        return {"params": params, "buffers": buffers, "moments": moments}

    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        return torch.no_grad()(self.holding(function, *held))

    def gradients(self, carry: Tree, seen: Tensors) -> Gradients:
        with torch.enable_grad():
            loss, logits = self._forward(seen)
            return loss.detach(), logits, carry["buffers"], torch.autograd.grad(loss, carry["params"])

    def put(self, tree: Tree) -> Tree:
        return mapped(self._tensor, tree)

    def host(self, tree: Tree) -> Tree:
        return mapped(_array, tree)

    @torch.no_grad()
    def stored(self, carry: Tree, new: Tree) -> None:
        """A kernel that works in place has returned the very tensors that it was given."""
        for target, value in replaced(carry, new):
            target.copy_(value)

    def added(self, total: Sequence[Tensor], values: Sequence[Tensor]) -> Sequence[Tensor]:
        torch._foreach_add_(total, values)
        return total

    @torch.no_grad()
    def frozen_values(self, teacher: Any) -> Tree:
        return super().frozen_values(teacher)

    def called(self, model: Any, view: Tensor, training: bool) -> Tensor:
        return call_directly(model, view) if id(model) in self._direct else super().called(model, view, training)

    def _forward_of(self, seen: Tensors) -> tuple[Tensor, Tensor]:
        logits = self.called(self.task.student, seen["view"], training=True)
        return self.loss(logits, seen), logits

    def _tensor(self, array: Array | Tensor) -> Tensor:
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(self.device, copy=True)
        return torch.as_tensor(array).to(self.device, non_blocking=True)


def lay_out(model: Any) -> None:
    """Bring a model's convolution kernels into `channels_last` memory; what they are stays."""
    for variable in model.variables:
        parameter = variable.value
        if parameter.ndim == 4:
            parameter.data = channels_last(parameter.data)


def _like(param: Tensor, tensor: Tensor) -> Tensor:
    return torch.empty_like(param, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _array(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return tensor.numpy().copy()

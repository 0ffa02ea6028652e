"""A spec compiled with PyTorch: a native autograd step over the Keras model, updated in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import keras
import torch

from backends.base import Device
from backends.hooks import COMPILING, Gradients, Tensors, Tree
from backends.state import Carry, mapped, pairs
from backends.torch.tensors import all_reduced, array_of, lay_out, like, read
from backends.trainer import BackendTrainer
from framework.models.direct import call_directly, is_direct
from framework.task import Task

Tensor: TypeAlias = torch.Tensor


class TorchTrainer(BackendTrainer):
    """The parameters and buffers of `carry` are the student's own, in place; eager unless `jit` is True."""

    def __init__(self, task: Task, device: Device | None = None, jit: bool | None = None) -> None:
        # A compiled step has nothing to gain from it.
        self._direct = {id(model) for model in (task.student, *task.teachers) if is_direct(model) and not jit}
        super().__init__(task, device, jit)
        for teacher in task.teachers:
            if teacher not in task.handed_over:
                teacher.requires_grad_(False)
        self._forward = self._forward_of
        if jit:
            self.first_step = COMPILING
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
        moments = {name: list(map(like, params, self.put(arrays))) for name, arrays in initial["moments"].items()}
        return {"params": params, "buffers": buffers, "moments": moments}

    def compiled(self, function: Callable[..., Any], *held: str, donated: int | None = None) -> Callable[..., Any]:
        return torch.no_grad()(self.holding(function, *held))

    def gradients(self, carry: Tree, seen: Tensors) -> Gradients:
        with torch.enable_grad():
            loss, logits = self._forward(seen)
            # A parameter that a module doesn't use has a gradient of zero, as on the other backends.
            grads = torch.autograd.grad(loss, carry["params"], materialize_grads=True)
            return loss.detach(), logits, carry["buffers"], grads

    def put(self, tree: Tree) -> Tree:
        return mapped(lambda array: read(array).to(self.device), tree)

    def host(self, tree: Tree) -> Tree:
        return mapped(array_of, tree)

    @torch.no_grad()
    def stored(self, carry: Tree, new: Tree) -> None:
        """A kernel that works in place has returned the very tensors that it was given."""
        for target, value in pairs(carry, new):
            target.copy_(value)

    def added(self, total: Sequence[Tensor], values: Sequence[Tensor]) -> Sequence[Tensor]:
        torch._foreach_add_(total, values)
        return total

    def reduced(self, values: Sequence[Tensor]) -> Sequence[Tensor]:
        return all_reduced(values)

    def summed(self, own: Tensor) -> Tensor:
        return torch.distributed.nn.functional.all_reduce(own)

    def replace(self, variable: Any, value: Tensor) -> None:
        variable.value.data = value

    def there(self) -> AbstractContextManager[Any]:
        return keras.device(str(self.device))

    def is_out_of_memory(self, error: Exception) -> bool:
        # The CPU's allocator has no type of its own.
        return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)

    def intact(self) -> bool:
        # A forward pass has written into the buffers.
        return not self.writing and not self.carry["buffers"]

    def called(self, model: Any, view: Tensor, training: bool) -> Tensor:
        return call_directly(model, view) if id(model) in self._direct else super().called(model, view, training)

    def _forward_of(self, seen: Tensors) -> tuple[Tensor, Tensor]:
        logits = self.called(self.task.student, seen["view"], training=True)
        return self.loss(logits, seen), logits

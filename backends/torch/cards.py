"""Training on a CUDA card: the step as one graph, norms compiled, and arrays sent on a stream of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from backends.base import Device
from backends.hooks import Tensor, Tensors, Tree
from backends.torch import fused
from backends.torch.graphs import Recorded
from backends.torch.tensors import Sender
from backends.torch.trainer import TorchTrainer
from framework.protocols import Batch, Seen
from framework.task import Task


class CardTrainer(TorchTrainer):
    """As its parent; nothing is recorded or compiled where `jit` is False."""

    def __init__(self, task: Task, device: Device, jit: bool | None = None) -> None:
        self._send = Sender(device.handle)
        super().__init__(task, device, jit)
        fused.now.compiles = jit is not False
        # What other processes add to a step isn't recorded.
        recordable = jit is not False and task.world.size == 1
        self._recorded = Recorded(partial(whole_step, self), self.device) if recordable else None

    def put(self, tree: Tree) -> Tree:
        """Sent on a stream of its own."""
        return self._send(tree)

    def _step(self, batch: Batch | Seen) -> Mapping[str, Any]:
        if self._recorded is None or not isinstance(batch, Batch):
            return super()._step(batch)
        metrics = self._recorded(self.task.micro_batches(batch), self.task.scalars(self.steps_done))
        if metrics is None:
            self._recorded = None
            return super()._step(batch)
        self.steps_done += 1
        return metrics


def whole_step(trainer: TorchTrainer, parts: Sequence[Tensors], scalars: Tensors) -> dict[str, Tensor]:
    """A step as a function of tensors alone, which a graph can hold: its parts' inputs and `Task.scalars`."""
    return dict(trainer.learn([trainer._see(part) for part in parts], scalars))


def trainer(task: Task, device: Device | None = None, jit: bool | None = None) -> TorchTrainer:
    """A trainer for a card, or for any other device."""
    if device is None or device.handle.type != "cuda":
        return TorchTrainer(task, device, jit)
    return CardTrainer(task, device, jit)

"""A model as a program of PyTorch's own: `torch.export`, which needs neither Keras nor its source code to run."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import keras
import torch
from torch import fx, nn
from torch.nn import functional

from framework.models import operations
from framework.models.operations import Pads, Step


def write(model: keras.Model, steps: Sequence[Step] | None, image_size: int, path: Path) -> list[Path]:
    """See `backends.base.Backend.write_program`."""
    module = _Writer().written(steps) if steps is not None else _foreign(model)
    views = torch.zeros(2, 3, image_size, image_size)
    with torch.no_grad():
        program = torch.export.export(module.eval(), (views,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    weights = path.with_suffix(".pt")
    torch.export.save(program, path)
    torch.save(dict(program.state_dict), weights)
    return [path, weights]


def _foreign(model: keras.Model) -> nn.Module:
    """Somebody's own module as it is; a Keras model with the channels first, as all of PyTorch's have them."""
    return model.given() if hasattr(model, "given") else _ChannelsFirst(model)


class _ChannelsFirst(nn.Module):
    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, views_bchw: torch.Tensor) -> torch.Tensor:
        return self.model(views_bchw.permute(0, 2, 3, 1), training=False)


class _Writer:
    """Writes plain operations down as modules and calls; parameters are named as the layers, `stage1.conv1.weight`."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}

    def written(self, steps: Sequence[Step]) -> nn.Module:
        made = {operations.VIEWS: self.graph.placeholder(operations.VIEWS)}
        for step in steps:
            inputs = [made[source] for source in step.inputs]
            made[step.name] = self.write(step.does, step.name.replace("/", "."), *inputs)
        self.graph.output(made[steps[-1].name])
        return fx.GraphModule(self.modules, self.graph, "Student")

    def filled(self, name: str, module: nn.Module, x: fx.Node, **numbers: Any) -> fx.Node:
        for key, array in numbers.items():
            getattr(module, key).data = torch.tensor(array)
        self.modules[name] = module
        return self.graph.call_module(name, (x,))

    def padded(self, x: fx.Node, pads: Pads, value: float, own: float) -> tuple[fx.Node, tuple[int, int]]:
        """The map, and the padding that is left to the operation, which pads with `own` on both sides alike."""
        (top, bottom), (left, right) = pads
        if (top, left) == (bottom, right) and value == own:
            return x, (top, left)
        return self.graph.call_function(functional.pad, (x, (left, right, top, bottom)), {"value": value}), (0, 0)

    @singledispatchmethod
    def write(self, does: Any, name: str, *inputs: fx.Node) -> fx.Node:
        """Write one operation down."""
        raise NotImplementedError(type(does).__name__)

    @write.register
    def _(self, does: operations.Conv, name: str, x: fx.Node) -> fx.Node:
        x, padding = self.padded(x, does.pads, 0.0, own=0.0)
        weight = does.kernel.transpose(3, 2, 0, 1).copy()
        outputs, inputs, size, _ = weight.shape
        module = nn.Conv2d(inputs * does.groups, outputs, size, does.stride, padding, 1, does.groups, bias=False)
        return self.filled(name, module, x, weight=weight)

    @write.register
    def _(self, does: operations.GroupNorm, name: str, x: fx.Node) -> fx.Node:
        module = nn.GroupNorm(does.groups, len(does.scale), does.epsilon)
        return self.filled(name, module, x, weight=does.scale, bias=does.bias)

    @write.register
    def _(self, does: operations.BatchNorm, name: str, x: fx.Node) -> fx.Node:
        module = nn.BatchNorm2d(len(does.scale), does.epsilon)
        numbers = {"weight": does.scale, "bias": does.bias, "running_mean": does.mean, "running_var": does.variance}
        return self.filled(name, module, x, **numbers)

    @write.register
    def _(self, does: operations.MaxPool, name: str, x: fx.Node) -> fx.Node:
        x, padding = self.padded(x, does.pads, does.value, own=-math.inf)
        return self.graph.call_function(functional.max_pool2d, (x, does.size, does.stride, padding))

    @write.register
    def _(self, does: operations.Dense, name: str, x: fx.Node) -> fx.Node:
        module = nn.Linear(*does.kernel.shape)
        return self.filled(name, module, x, weight=does.kernel.T.copy(), bias=does.bias)

    @write.register
    def _(self, does: operations.Activation, name: str, x: fx.Node) -> fx.Node:
        return self.graph.call_function(_ACTIVATIONS[does.kind], (x,))

    @write.register
    def _(self, does: operations.Add, name: str, x: fx.Node, y: fx.Node) -> fx.Node:
        return self.graph.call_function(operator.add, (x, y))

    @write.register
    def _(self, does: operations.Weight, name: str, x: fx.Node, weights_bc: fx.Node) -> fx.Node:
        column = self.graph.call_method("unsqueeze", (weights_bc, 2))
        return self.graph.call_function(operator.mul, (x, self.graph.call_method("unsqueeze", (column, 3))))

    @write.register
    def _(self, does: operations.Mean, name: str, x: fx.Node) -> fx.Node:
        return self.graph.call_method("mean", (x, (2, 3)))


_ACTIVATIONS = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hard_silu": functional.hardswish,
    "hard_sigmoid": functional.hardsigmoid,
}

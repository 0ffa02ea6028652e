"""Our models as a list of plain operations with their numbers: what is written in the form of another library.

Evaluation only: kernels that are standardised each time they are used are given as they are convolved with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import keras
import numpy as np

from framework import kernels
from framework.errors import UserError
from framework.models import layers, operations
from framework.models.operations import Operation, Step

Array = np.ndarray
# What an activation of Keras's is called here; a step is named after its input.
_ACTIVATIONS = {"Relu": "relu", "Relu6": "relu6", "HardSilu": "hard_silu", "HardSigmoid": "hard_sigmoid"}
# Of Keras's other operations and of our kernels: the step's name, and what makes it of all arguments but the tensors.
_OTHERS: dict[str, tuple[str, Callable[..., Operation]]] = {
    "Add": ("add", operations.Add),
    "Multiply": ("weight", operations.Weight),
    "global_mean": ("mean", operations.Mean),
    "max_pool": (
        "pool",
        lambda size, stride, pads, value: operations.MaxPool(size, stride, kernels.pairs(pads), value),
    ),
}
# These change shapes and dtypes alone.
_SAME = ("Cast", "GetItem")


def plain(model: keras.Model, image_size: int) -> tuple[Step, ...]:
    """Rewrite a model; the last step gives its logits.

    Args:
        model: one of ours, filled.
        image_size: side of its square views, in pixels.

    Raises:
        UserError: it is none of ours, or does something that this doesn't know.
    """
    views = keras.KerasTensor((None, image_size, image_size, 3))
    writer = _Writer(views)
    writer.follow(model, [views], "")
    return tuple(writer.steps)


class _Writer:
    """Has a model's own `call` make a graph of Keras's, and writes that down; methods return the name of a result."""

    def __init__(self, views: Any) -> None:
        self.names = {views: operations.VIEWS}
        self.steps: list[Step] = []

    def follow(self, layer: Any, inputs: list[Any], path: str) -> str:
        if not type(layer).__module__.startswith("framework.models."):
            raise _unknown(layer)
        return self.written(layer.call(*inputs), path)

    def written(self, x: Any, path: str) -> str:
        """Write down what gives a tensor, unless that is done, and before it all that it needs."""
        if x not in self.names:
            operation, place, _ = x._keras_history
            node = operation._inbound_nodes[place]
            # A shortcut comes before what it is added to.
            for each in reversed(node.input_tensors):
                self.written(each, path)
            self.names[x] = self._of_node(node, path)
        return self.names[x]

    def _of_node(self, node: Any, path: str) -> str:
        operation, tensors = node.operation, node.input_tensors
        kind = operation.name if isinstance(operation, kernels.Noted) else type(operation).__name__
        sources = [self.names[each] for each in tensors]
        if kind in _SAME:
            return sources[0]
        if kind in _ACTIVATIONS:
            return self._activation(_ACTIVATIONS[kind], sources[0])
        if kind in _OTHERS:
            name, make = _OTHERS[kind]
            return self._step(f"{path}{name}", make(*node.arguments.args[len(tensors) :]), *sources)
        if getattr(operation, "_layers", ()):
            return self.follow(operation, tensors, f"{path}{operation.name}/")
        result = self._step(f"{path}{operation.name}", _does(operation, tensors[0].shape), *sources)
        return self._activation("relu", result) if node.arguments.kwargs.get("relu") else result

    def _activation(self, kind: str, source: str) -> str:
        return self._step(f"{source}/{kind}", operations.Activation(kind), source)

    def _step(self, name: str, does: Operation, *inputs: str) -> str:
        taken = {step.name for step in self.steps}
        unique = next(
            each for each in (name, *(f"{name}_{number}" for number in range(2, 10_000))) if each not in taken
        )
        self.steps.append(Step(unique, does, inputs))
        return unique


def _unknown(operation: Any) -> UserError:
    kind = f"{type(operation).__module__}.{type(operation).__qualname__}"
    return UserError(f"a model with the layer {kind} can't be rewritten: only the project's own can")


@singledispatch
def _does(layer: Any, shape: layers.Shape) -> Operation:
    """What a layer does to a map of that shape, with its numbers."""
    raise _unknown(layer)


@_does.register
def _(layer: layers.Conv2D, shape: layers.Shape) -> Operation:
    kernel = _numbers(layer.effective_kernel())
    # Each channel by itself is a convolution of as many groups as channels.
    groups = kernel.shape[-1] if isinstance(layer, layers.DepthwiseConv2D) else 1
    return operations.Conv(kernel, layer.stride, kernels.pairs(layer._pads(shape)), groups)


@_does.register
def _(layer: layers.GroupNorm, shape: layers.Shape) -> Operation:
    scale, bias = (_numbers(variable).reshape(-1) for variable in (layer.scale, layer.bias))
    return operations.GroupNorm(scale, bias, layer.groups, layer.epsilon)


@_does.register
def _(layer: layers.BatchNorm, shape: layers.Shape) -> Operation:
    variables = (layer.scale, layer.bias, layer.moving_mean, layer.moving_variance)
    scale, bias, mean, variance = (_numbers(variable).reshape(-1) for variable in variables)
    return operations.BatchNorm(scale, bias, mean, variance, layer.epsilon)


@_does.register
def _(layer: layers.Dense, shape: layers.Shape) -> Operation:
    return operations.Dense(_numbers(layer.kernel), _numbers(layer.bias))


def _numbers(tensor: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(tensor), np.float32)

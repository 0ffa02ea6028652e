"""Our models in Keras's own layers: a file of theirs loads where only Keras is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import keras
from keras import layers

from framework.models import operations
from framework.models.operations import Operation, Pads, Step

Tensor = Any


def stock(steps: Sequence[Step], image_size: int, name: str) -> keras.Model:
    """Build a functional model of plain operations, with their numbers.

    Args:
        steps: as `framework.models.plain.plain` gives them.
        image_size: side of the square views, in pixels.
        name: of the model.

    Returns:
        A built model: float [B, S, S, 3] in [-1, 1] to logits [B, C].
    """
    views = keras.Input((image_size, image_size, 3), name=operations.VIEWS)
    made: dict[str, Tensor] = {operations.VIEWS: views}
    for step in steps:
        inputs = [made[source] for source in step.inputs]
        # Keras forbids the slash in a name.
        made[step.name] = _applied(step.does, step.name.replace("/", "_"), *inputs)
    return keras.Model(views, made[steps[-1].name], name=name)


@singledispatch
def _applied(does: Operation, name: str, *inputs: Tensor) -> Tensor:
    """The result of an operation: a new layer is called with `inputs`, and filled."""
    raise NotImplementedError(type(does).__name__)


def _filled(layer: layers.Layer, x: Tensor, numbers: Sequence[Any]) -> Tensor:
    y = layer(x)
    layer.set_weights(list(numbers))
    return y


@_applied.register
def _(does: operations.Conv, name: str, x: Tensor) -> Tensor:
    size, outputs = does.kernel.shape[0], does.kernel.shape[-1]
    centred = does.stride == 1 and does.pads == ((size // 2,) * 2,) * 2
    x = x if centred else _padded(x, does.pads, 0.0, name)
    common: Mapping[str, Any] = {
        "strides": does.stride,
        "padding": "same" if centred else "valid",
        "use_bias": False,
        "name": name,
    }
    if does.groups > 1:
        return _filled(layers.DepthwiseConv2D(size, **common), x, [does.kernel.transpose(0, 1, 3, 2)])
    return _filled(layers.Conv2D(outputs, size, **common), x, [does.kernel])


def _padded(x: Tensor, pads: Pads, value: float, name: str) -> Tensor:
    if not any((*pads[0], *pads[1])):
        return x
    if value == -math.inf:
        return _edges_doubled(_edges_doubled(x, 1), 2)
    return layers.ZeroPadding2D(pads, name=f"{name}_pad")(x)


def _edges_doubled(x: Tensor, axis: int) -> Tensor:
    """The first and the last row once more: to a maximum over windows that is what -inf around the map is."""
    last = x.shape[axis] - 1
    first_only, last_only = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    first_only[axis - 1], last_only[axis - 1] = (0, last), (last, 0)
    before, after = (layers.Cropping2D(tuple(cut))(x) for cut in (first_only, last_only))
    return layers.Concatenate(axis=axis)([before, x, after])


@_applied.register
def _(does: operations.GroupNorm, name: str, x: Tensor) -> Tensor:
    layer = layers.GroupNormalization(does.groups, epsilon=does.epsilon, name=name)
    return _filled(layer, x, [does.scale, does.bias])


@_applied.register
def _(does: operations.BatchNorm, name: str, x: Tensor) -> Tensor:
    layer = layers.BatchNormalization(epsilon=does.epsilon, name=name)
    return _filled(layer, x, [does.scale, does.bias, does.mean, does.variance])


@_applied.register
def _(does: operations.MaxPool, name: str, x: Tensor) -> Tensor:
    return layers.MaxPooling2D(does.size, does.stride, name=name)(_padded(x, does.pads, does.value, name))


@_applied.register
def _(does: operations.Dense, name: str, x: Tensor) -> Tensor:
    return _filled(layers.Dense(does.kernel.shape[1], name=name), x, [does.kernel, does.bias])


@_applied.register
def _(does: operations.Activation, name: str, x: Tensor) -> Tensor:
    return layers.Activation(does.kind, name=name)(x)


@_applied.register
def _(does: operations.Add, name: str, *inputs: Tensor) -> Tensor:
    return layers.Add(name=name)(list(inputs))


@_applied.register
def _(does: operations.Weight, name: str, x: Tensor, weights_bc: Tensor) -> Tensor:
    weights = layers.Reshape((1, 1, weights_bc.shape[-1]), name=f"{name}_shape")(weights_bc)
    return layers.Multiply(name=name)([x, weights])


@_applied.register
def _(does: operations.Mean, name: str, x: Tensor) -> Tensor:
    return layers.GlobalAveragePooling2D(name=name)(x)

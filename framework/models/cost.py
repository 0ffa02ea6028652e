"""What a model costs, counted from its own layers without running it: parameters, multiply-adds, activations.

A layer with a kernel costs one multiply-add for each of the kernel's numbers at each place of its output, whatever kind
it is (dense, convolution, grouped or depthwise). Norms, activations, pooling and weight standardisation are left out:
they are a few per cent of the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from framework.models import catalog


@dataclass(frozen=True)
class Cost:
    """Counts for one model and one size of view; all but the parameters are 0 where a layer's sizes are not known.

    Attributes:
        parameters: numbers in all variables.
        trainable: those that are trained.
        macs: multiply-adds of one image's forward pass; a FLOP count is twice that.
        kept: numbers of one image that a backward pass needs: the input of each layer with parameters.
        largest: the most numbers of one image that a layer holds, its input and output.
    """

    parameters: int
    trainable: int
    macs: int
    kept: int
    largest: int


def outline(name: str, options: Mapping[str, Any], num_classes: int, image_size: int) -> keras.Model:
    """A model to be counted; of our own models only the shapes are made, and no parameter exists.

    Args and errors are those of `framework.models.catalog.build`.
    """
    if name not in catalog.MODELS:
        return catalog.build(name, options, num_classes, image_size, None)
    with keras.StatelessScope(initialize_variables=False):
        model = catalog.build(name, options, num_classes, image_size, None)
    # Keras remembers the variables without a value and would make them later; nobody asks for these.
    catalog.restart_names()
    return model


def of(model: keras.Model) -> Cost:
    """Count a built model for the size of view that it was built with."""
    layers = _counted(model)
    sizes = [(_numbers(shape), _numbers(layer.compute_output_shape(shape))) for layer, shape in layers]
    return Cost(
        parameters=_total(model.variables),
        trainable=_total(model.trainable_variables),
        macs=sum(_macs(layer, shape) for layer, shape in layers),
        kept=sum(inputs for inputs, _ in sizes),
        largest=max((inputs + outputs for inputs, outputs in sizes), default=0),
    )


def _total(variables: Any) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _counted(model: keras.Model) -> list[tuple[Any, tuple[int | None, ...]]]:
    """The innermost layers that have parameters, with the shape of their input; none where a size is not known."""
    # Keras has no public way to the layers inside of layers.
    innermost = [layer for layer in model._flatten_layers(include_self=False) if layer.variables and not layer._layers]
    shapes = [tuple((layer.get_build_config() or {}).get("input_shape") or ()) for layer in innermost]
    if not all(shape and all(isinstance(side, int) for side in shape[1:]) for shape in shapes):
        return []
    return list(zip(innermost, shapes, strict=True))


def _macs(layer: Any, shape: tuple[int | None, ...]) -> int:
    kernels = [variable for variable in layer.variables if variable.name.rpartition("_")[2] == "kernel"]
    places = math.prod(side or 1 for side in layer.compute_output_shape(shape)[1:-1])
    return _total(kernels) * places


def _numbers(shape: tuple[int | None, ...]) -> int:
    return math.prod(side or 1 for side in shape[1:])

"""Models that are trained no more: what their layers would compute at each call is kept instead."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import ops

from framework.models.layers import Conv2D, StdConv2D, Tensor, Variable


def freeze(model: keras.Model, store: Callable[[Variable, Tensor], None]) -> None:
    """Keep of a model what it computes with, for good: standardised kernels, in the dtype of the arithmetic.

    What it gives stays the same to the last bit; it can be trained no more.

    Args:
        model: a built Keras model; a second time changes nothing.
        store: puts a tensor, perhaps of another dtype, in the place of a variable's value.
    """
    for layer in model._flatten_layers():
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            value = _computed_with(layer, variable)
            if value is not None:
                store(variable, value)
                variable._dtype = keras.backend.standardize_dtype(value.dtype)
        if isinstance(layer, StdConv2D):
            layer.is_frozen = True


def _computed_with(layer: keras.layers.Layer, variable: Variable) -> Tensor | None:
    """The value that a layer makes of a variable each time it computes, or None where it takes it as it is."""
    if isinstance(layer, Conv2D):
        changes = layer.variable_dtype != layer.compute_dtype or isinstance(layer, StdConv2D)
        done = getattr(layer, "is_frozen", False) or (variable.dtype == layer.compute_dtype and not changes)
        return None if done else ops.cast(layer.effective_kernel(), layer.compute_dtype)
    casts = layer.autocast and variable._autocast and keras.backend.is_float_dtype(variable.dtype)
    return ops.cast(variable.value, layer.compute_dtype) if casts and variable.dtype != layer.compute_dtype else None


def is_frozen(model: keras.Model) -> bool:
    """Whether kernels of a model were standardised for good."""
    return any(getattr(layer, "is_frozen", False) for layer in model._flatten_layers())

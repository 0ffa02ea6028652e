"""The layers of our own models: thin, named as the authors name them, computing through `framework.kernels`.

Variables start as zeros made by numpy, because Keras's own initialisers compile (seconds per model on JAX);
`framework.models.initial` fills them. Calling a model that was not filled gives finite nonsense.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from framework import kernels

Tensor = Any
Shape = tuple[int | None, ...]
registered = keras.saving.register_keras_serializable("patient_teachers")


def host_zeros(shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    """Zeros that cost no compilation."""
    return np.zeros(shape, keras.backend.standardize_dtype(dtype))


@registered
class Conv2D(keras.layers.Layer):
    """A convolution without bias, padded by size // 2 on all four sides. Variable: `kernel` [h, w, I, O].

    Args:
        filters: output channels.
        size: of the kernel, on both axes; odd.
        stride: of both axes.
    """

    def __init__(self, filters: int, size: int, stride: int = 1, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.filters, self.size, self.stride = filters, size, stride

    def build(self, input_shape: Shape) -> None:
        shape = (self.size, self.size, input_shape[-1], self.filters)
        # Not cast automatically: standardisation needs the kernel's full precision.
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=host_zeros, autocast=False)

    def effective_kernel(self) -> Tensor:
        """The kernel that is convolved with: [h, w, I, O] in the variable's dtype."""
        return ops.convert_to_tensor(self.kernel)

    def call(self, x_bhwc: Tensor) -> Tensor:
        kernel = ops.cast(self.effective_kernel(), self.compute_dtype)
        return kernels.conv2d(x_bhwc, kernel, self.stride, self.size // 2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *extent, _ = input_shape
        sides = (None if side is None else (side - 1) // self.stride + 1 for side in extent)
        return (batch, *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "size": self.size, "stride": self.stride}


@registered
class StdConv2D(Conv2D):
    """A convolution whose kernel is standardised each time it is used (BiT)."""

    def effective_kernel(self) -> Tensor:
        return kernels.standardise(super().effective_kernel())


@registered
class GroupNorm(keras.layers.Layer):
    """Group normalisation with an affine map. Variables: `scale` and `bias` [1, 1, 1, C], as in the authors' files.

    Args:
        groups: divides the number of channels.
        epsilon: added to the variance, inside the root.
    """

    def __init__(self, groups: int, epsilon: float = 1e-5, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.groups, self.epsilon = groups, epsilon

    def build(self, input_shape: Shape) -> None:
        shape = (1, 1, 1, input_shape[-1])
        self.scale = self.add_weight(name="scale", shape=shape, initializer=host_zeros)
        self.bias = self.add_weight(name="bias", shape=shape, initializer=host_zeros)

    def call(self, x_bhwc: Tensor) -> Tensor:
        scale, bias = ops.convert_to_tensor(self.scale), ops.convert_to_tensor(self.bias)
        return kernels.group_norm(x_bhwc, scale, bias, self.groups, self.epsilon)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}


@registered
class Dense(keras.layers.Layer):
    """The classifier: logits, no activation. Variables: `kernel` [F, C] and `bias` [C].

    Args:
        units: the number C of classes.
    """

    def __init__(self, units: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.units = units

    def build(self, input_shape: Shape) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units), initializer=host_zeros)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer=host_zeros)

    def call(self, x_bf: Tensor) -> Tensor:
        return kernels.dense(x_bf, ops.convert_to_tensor(self.kernel), ops.convert_to_tensor(self.bias))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}

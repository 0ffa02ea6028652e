"""The layers of our own models: thin, named as the authors name them, computing through `framework.kernels`.

Variables start as zeros made by numpy, because Keras's own initialisers compile (seconds per model on JAX);
`framework.models.initial` fills them. Calling a model that was not filled gives finite nonsense. Nothing here has a
`get_config`: Keras makes it of the constructor's arguments, which are plain values.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from framework import kernels
from framework.models.direct import Direct
from framework.world import over_devices

Tensor = Any
Variable = Any  # keras.Variable, of which each backend has its own class
Shape = tuple[int | None, ...]
registered = keras.saving.register_keras_serializable("patient_teachers")


def host_zeros(shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    """Zeros that cost no compilation."""
    return np.zeros(shape, keras.backend.standardize_dtype(dtype))


def same_padding(side: int, size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's `SAME`: the odd pixel after the map, so that a stride of 2 sees other pixels than with `centred`.

    >>> same_padding(8, 3, 2), same_padding(7, 3, 2), same_padding(8, 5, 2)
    ((0, 1), (1, 1), (1, 2))
    """
    total = max(0, ((side - 1) // stride) * stride + size - side)
    return total // 2, total - total // 2


class Composed(keras.layers.Layer):
    """A layer of layers: given a tensor without numbers, its `call` builds them, and tells the output's shape."""

    def build(self, input_shape: Shape) -> None:
        self.call(keras.KerasTensor(input_shape, self.compute_dtype))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.call(keras.KerasTensor(input_shape, self.compute_dtype)).shape


class Net(Composed, keras.Model):
    """A net of ours: views float [B, H, W, 3] in [-1, 1] to logits [B, C].

    Attributes:
        head: the classifier.
        zero_kernels: names of the kernels that start at zero.
    """

    head: Dense
    zero_kernels: tuple[str, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # A model's own would keep the arguments from the configuration that Keras makes of them.
        return keras.layers.Layer.__new__(cls, *args, **kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        # Sides may be unknown.
        return (input_shape[0], self.head.units)


@registered
class Conv2D(Direct):
    """A convolution without bias. Variable: `kernel` [h, w, I, O].

    Args:
        filters: output channels.
        size: of the kernel, on both axes; odd.
        stride: of both axes.
        padding: "centred" adds size // 2 on all four sides, "same" as TensorFlow does.
    """

    convolve: Any = kernels.conv2d

    def __init__(
        self,
        filters: int,
        size: int,
        stride: int = 1,
        padding: Literal["centred", "same"] = "centred",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.size, self.stride, self.padding = filters, size, stride, padding

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """The kernel's shape for that many input channels."""
        return (self.size, self.size, channels, self.filters)

    def build(self, input_shape: Shape) -> None:
        assert input_shape[-1] is not None
        shape = self.kernel_shape(input_shape[-1])
        # Not cast automatically: standardisation needs the kernel's full precision.
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=host_zeros, autocast=False)

    def effective_kernel(self) -> Tensor:
        """The kernel that is convolved with, in the variable's dtype and shape."""
        return ops.convert_to_tensor(self.kernel)

    def call(self, x_bhwc: Tensor) -> Tensor:
        kernel = ops.cast(self.effective_kernel(), self.compute_dtype)
        return self.convolve(x_bhwc, kernel, self.stride, self._pads(x_bhwc.shape))

    def _pads(self, shape: Shape) -> kernels.Padding:
        _, height, width, _ = shape
        if self.padding == "centred" or height is None or width is None:
            return self.size // 2
        return same_padding(height, self.size, self.stride), same_padding(width, self.size, self.stride)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *extent, _ = input_shape
        sides = (None if side is None else (side - 1) // self.stride + 1 for side in extent)
        return (batch, *sides, self.filters)


@registered
class StdConv2D(Conv2D):
    """A convolution whose kernel is standardised each time it is used (BiT), but for those of a frozen model."""

    is_frozen = False

    def effective_kernel(self) -> Tensor:
        kernel = super().effective_kernel()
        return kernel if self.is_frozen else kernels.standardise(kernel)


@registered
class DepthwiseConv2D(Conv2D):
    """A convolution of each channel by itself; `filters` is their number. Variable: `kernel` [h, w, 1, C]."""

    convolve: Any = kernels.depthwise_conv2d

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (self.size, self.size, 1, channels)


@registered
class GroupNorm(Direct):
    """Group normalisation with an affine map. Variables: `scale` and `bias` [1, 1, 1, C], as in the authors' files.

    Args:
        groups: divides the number of channels.
        epsilon: added to the variance, inside the root.
    """

    def __init__(self, groups: int, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups, self.epsilon = groups, epsilon

    def build(self, input_shape: Shape) -> None:
        shape = (1, 1, 1, input_shape[-1])
        self.scale = self.add_weight(name="scale", shape=shape, initializer=host_zeros)
        self.bias = self.add_weight(name="bias", shape=shape, initializer=host_zeros)

    def call(self, x_bhwc: Tensor, relu: bool = False) -> Tensor:
        """Normalise; with `relu`, what is negative then becomes 0."""
        scale, bias = ops.convert_to_tensor(self.scale), ops.convert_to_tensor(self.bias)
        return kernels.group_norm(x_bhwc, scale, bias, self.groups, self.epsilon, relu)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@registered
class BatchNorm(keras.layers.Layer):
    """Batch normalisation with an affine map, over the examples of all devices that compute a batch together.

    Variables, each [1, 1, 1, C]: `scale`, `bias`, and the statistics that evaluation uses, `moving_mean` and
    `moving_variance`.

    Args:
        momentum: share of a moving statistic that a step keeps, 0 to 1.
        epsilon: added to the variance, inside the root.
    """

    # See `framework.world.check_parts`.
    sums_over_devices = True

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, input_shape: Shape) -> None:
        # Not cast automatically: statistics in half precision would stand still.
        common = {"shape": (1, 1, 1, input_shape[-1]), "initializer": host_zeros, "autocast": False}
        self.scale, self.bias = (self.add_weight(name=name, **common) for name in ("scale", "bias"))
        names = ("moving_mean", "moving_variance")
        self.moving_mean, self.moving_variance = (self.add_weight(name=n, trainable=False, **common) for n in names)

    def call(self, x_bhwc: Tensor, training: bool | None = None) -> Tensor:
        x = ops.cast(x_bhwc, self.variable_dtype)
        mean, variance = self._of_batch(x) if training else (self.moving_mean, self.moving_variance)
        factor = ops.rsqrt(variance + self.epsilon) * self.scale
        return ops.cast((x - mean) * factor + self.bias, x_bhwc.dtype)

    def _of_batch(self, x_bhwc: Tensor) -> tuple[Tensor, Tensor]:
        # By sums, because `ops.mean` passes through float32.
        share = x_bhwc.shape[-1] / over_devices(ops.cast(ops.size(x_bhwc), x_bhwc.dtype))
        mean = over_devices(ops.sum(x_bhwc, axis=(0, 1, 2), keepdims=True)) * share
        variance = over_devices(ops.sum(ops.square(x_bhwc - mean), axis=(0, 1, 2), keepdims=True)) * share
        for moving, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + ops.stop_gradient(seen) * (1.0 - self.momentum))
        return mean, variance

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@registered
class Dense(Direct):
    """The classifier: logits, no activation. Variables: `kernel` [F, C] and `bias` [C].

    Args:
        units: the number C of classes.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Shape) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units), initializer=host_zeros)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer=host_zeros)

    def call(self, x_bf: Tensor) -> Tensor:
        return kernels.dense(x_bf, ops.convert_to_tensor(self.kernel), ops.convert_to_tensor(self.bias))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

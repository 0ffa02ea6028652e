"""The few operations where a backend's own library beats `keras.ops` by far: named, with a default, replaceable.

A backend replaces them with `install`, which `backends.load` calls with the backend's `KERNELS`. A replacement is
looked up whenever the operation is called, which is when a step is traced, so install before compiling. Every
replacement is held to the default by one table: `tests/framework/test_kernels.py`.

Shapes: B batch, H height, W width, C channels, I and O a kernel's input and output channels, F features. Images are
NHWC, convolution kernels HWIO. The result has the dtype of the first argument, and the defaults stay right in float64:
they use only those operations of `keras.ops` that don't pass through float32 on the way (`mean` and `matmul` do).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

import keras
from keras import ops

Tensor = Any
Pairs = tuple[tuple[int, int], tuple[int, int]]
Padding = int | Pairs

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_installed: dict[str, Callable[..., Any]] = {}


class Kernel(Generic[_Parameters, _Result]):
    """A named operation: calls what a backend installed under its name, else its default.

    Attributes:
        name: the name to install a replacement under.
        default: the form written in `keras.ops`.
    """

    def __init__(self, default: Callable[_Parameters, _Result]) -> None:
        functools.update_wrapper(self, default)
        self.name = default.__name__
        self.default = default

    def __call__(self, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        """Compute it; of a tensor without numbers, note it in Keras's graph as one operation."""
        if args and isinstance(args[0], keras.KerasTensor):
            noted: _Result = Noted(self).symbolic_call(*args, **kwargs)
            return noted
        return _installed.get(self.name, self.default)(*args, **kwargs)


class Noted(keras.Operation):
    """A kernel in a graph of Keras's: one operation, whatever it is made of."""

    def __init__(self, kernel: Kernel[..., Any]) -> None:
        super().__init__(kernel.name)
        self.compute_output_spec = kernel.default


def install(replacements: Mapping[str, Callable[..., Any]]) -> None:
    """Replace kernels by name for the rest of the process; an empty mapping brings all defaults back.

    Args:
        replacements: the kernel's name and a function with the default's parameters.
    """
    _installed.clear()
    _installed.update(replacements)


def pairs(padding: Padding) -> Pairs:
    """Padding as ((top, bottom), (left, right)) from one number or from those pairs."""
    return ((padding, padding), (padding, padding)) if isinstance(padding, int) else padding


def _padded(x_bhwc: Tensor, padding: Padding, value: float) -> Tensor:
    rows, columns = pairs(padding)
    if not any((*rows, *columns)):
        return x_bhwc
    return ops.pad(x_bhwc, ((0, 0), rows, columns, (0, 0)), constant_values=value)


@Kernel
def conv2d(x_bhwc: Tensor, kernel_hwio: Tensor, stride: int = 1, padding: Padding = 0) -> Tensor:
    """Convolve with explicit padding by zeros: `same` pads otherwise on different backends, so it isn't offered.

    Args:
        x_bhwc: float [B, H, W, C].
        kernel_hwio: float [h, w, C / groups, O]; the number of groups follows from the shapes.
        stride: of both axes, at least 1.
        padding: zeros added on each side, or ((top, bottom), (left, right)).

    Returns:
        float [B, H', W', O].
    """
    padded = _padded(x_bhwc, padding, 0.0)
    return ops.conv(padded, kernel_hwio, strides=stride, padding="valid", data_format="channels_last")


@Kernel
def depthwise_conv2d(x_bhwc: Tensor, kernel_hw1c: Tensor, stride: int = 1, padding: Padding = 0) -> Tensor:
    """Convolve each channel by itself: `conv2d` with as many groups as channels, which a backend may have apart.

    Args:
        x_bhwc: float [B, H, W, C].
        kernel_hw1c: float [h, w, 1, C].
        stride: of both axes, at least 1.
        padding: as in `conv2d`.

    Returns:
        float [B, H', W', C].
    """
    padded = _padded(x_bhwc, padding, 0.0)
    kernel_hwc1 = ops.transpose(kernel_hw1c, (0, 1, 3, 2))
    return ops.depthwise_conv(padded, kernel_hwc1, strides=stride, padding="valid", data_format="channels_last")


@Kernel
def group_norm(
    x_bhwc: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float = 1e-5, relu: bool = False
) -> Tensor:
    """Normalise over space and groups of adjacent channels, with the biased variance in two passes.

    Args:
        x_bhwc: float [B, H, W, C]; half precision is normalised in float32.
        scale: float, C values in any shape.
        bias: float, C values in any shape.
        groups: divides C.
        epsilon: added to the variance, inside the root.
        relu: negative results become 0.

    Returns:
        float [B, H, W, C] in the dtype of `x_bhwc`.
    """
    _, height, width, channels = x_bhwc.shape
    share = groups / (height * width * channels)

    def group_mean(values: Tensor) -> Tensor:
        # Space first, then the few numbers that are left: backends vectorise over channels, not over small groups.
        grouped = ops.reshape(ops.sum(values, axis=(1, 2)), (-1, groups, channels // groups))
        mean = ops.sum(grouped, axis=2, keepdims=True) * share
        return ops.reshape(ops.repeat(mean, channels // groups, axis=2), (-1, 1, 1, channels))

    x = _at_least_float32(x_bhwc)
    centred = x - group_mean(x)
    factor = ops.rsqrt(group_mean(ops.square(centred)) + epsilon) * ops.reshape(_at_least_float32(scale), (channels,))
    result = centred * factor + ops.reshape(_at_least_float32(bias), (channels,))
    result = ops.cast(result, x_bhwc.dtype)
    return ops.relu(result) if relu else result


@Kernel
def max_pool(x_bhwc: Tensor, size: int, stride: int, padding: Padding = 0, value: float = -math.inf) -> Tensor:
    """The greatest value of each window.

    Args:
        x_bhwc: float [B, H, W, C].
        size: of the window, on both axes.
        stride: of both axes.
        padding: on each side, at most size // 2, or ((top, bottom), (left, right)).
        value: what the padding holds: -inf never wins, 0 does where a whole window is negative.

    Returns:
        float [B, H', W', C].
    """
    padded = _padded(x_bhwc, padding, value)
    return ops.max_pool(padded, size, stride, padding="valid", data_format="channels_last")


@Kernel
def global_mean(x_bhwc: Tensor) -> Tensor:
    """The mean over space: float [B, H, W, C] to [B, C]."""
    _, height, width, _ = x_bhwc.shape
    total = ops.sum(_at_least_float32(x_bhwc), axis=(1, 2))
    return ops.cast(total * (1.0 / (height * width)), x_bhwc.dtype)


@Kernel
def standardise(kernel_hwio: Tensor, epsilon: float = 1e-10) -> Tensor:
    """Weight standardisation: each output channel's kernel to mean 0 and (biased) variance 1.

    Args:
        kernel_hwio: float [h, w, I, O].
        epsilon: added to the variance, inside the root.

    Returns:
        float [h, w, I, O].

    Reference: Qiao et al., Weight Standardization (arXiv 1903.10520), as BiT uses it: without a gain.
    """
    height, width, inputs, _ = kernel_hwio.shape
    share = 1.0 / (height * width * inputs)
    centred = kernel_hwio - ops.sum(kernel_hwio, axis=(0, 1, 2), keepdims=True) * share
    variance = ops.sum(ops.square(centred), axis=(0, 1, 2), keepdims=True) * share
    return centred * ops.rsqrt(variance + epsilon)


@Kernel
def dense(x_bf: Tensor, kernel_fc: Tensor, bias_c: Tensor) -> Tensor:
    """An affine map: float [B, F] @ [F, C] + [C] to [B, C]."""
    return ops.einsum("bf,fc->bc", x_bf, kernel_fc) + bias_c


def _at_least_float32(x: Tensor) -> Tensor:
    """Sums over many values in half precision would lose most of them."""
    half = keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16")
    return ops.cast(x, "float32") if half else x

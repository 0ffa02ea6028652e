"""Where XLA's CPU convolutions take a slow path: products instead, which are no slower elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array as Tensor
from jax import lax

from framework.kernels import Padding, pairs


def conv2d(x_bhwc: Tensor, kernel_hwio: Tensor, stride: int = 1, padding: Padding = 0) -> Tensor:
    """See `framework.kernels.conv2d`.

    A 1x1 kernel is a product (its gradient 9 times faster on a 16x16 map), and so is a convolution to a map of 2x2 or
    less (10 to 30 times); for larger maps the same trick loses, so they stay with XLA.
    """
    height, width, inputs, outputs = kernel_hwio.shape
    rows, columns = pairs(padding)
    groups = x_bhwc.shape[-1] // inputs
    if groups == 1 and (height, width) == (1, 1) and not any((*rows, *columns)):
        return x_bhwc[:, ::stride, ::stride] @ kernel_hwio[0, 0]
    out_height = (x_bhwc.shape[1] + sum(rows) - height) // stride + 1
    out_width = (x_bhwc.shape[2] + sum(columns) - width) // stride + 1
    if groups == 1 and max(out_height, out_width) <= 2:
        patches = _patches(x_bhwc, (height, width), stride, padding)
        return patches @ kernel_hwio.reshape(height * width * inputs, outputs)
    return lax.conv_general_dilated(
        x_bhwc,
        kernel_hwio,
        window_strides=(stride, stride),
        padding=(rows, columns),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _patches(x_bhwc: Tensor, size: tuple[int, int], stride: int, padding: Padding) -> Tensor:
    """What the kernel sees at each place, row by row: float [B, H', W', h * w * C]."""
    padded = jnp.pad(x_bhwc, ((0, 0), *pairs(padding), (0, 0)))
    _, height, width, _ = padded.shape
    starts = [(top, left) for top in range(size[0]) for left in range(size[1])]
    return jnp.concatenate(
        [
            padded[:, top : height - size[0] + top + 1 : stride, left : width - size[1] + left + 1 : stride]
            for top, left in starts
        ],
        axis=-1,
    )


KERNELS: dict[str, Callable[..., Any]] = {"conv2d": conv2d}

"""MobileNetV3, Large and Small, with GroupNorm as the paper's students have it or with BatchNorm as published.

Layers are named as elsewhere (`conv`, `expanded_conv_1/depthwise`, `conv_2`), a norm after its convolution
(`expanded_conv_1/depthwise_norm`). Padding and channel numbers are those of TensorFlow's models, so their weights fit;
the dropout before the head is left out, as the paper uses none of the original's training tricks.

Reference: Howard et al., Searching for MobileNetV3 (arXiv 1905.02244); "A good teacher is patient and consistent",
section 3.6.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from framework import kernels
from framework.errors import UserError
from framework.models.inverted_residual import NORMS, InvertedResidual, rounded
from framework.models.layers import Conv2D, Dense, Net, Tensor, registered


class Row(NamedTuple):
    """A line of the published tables: an inverted residual."""

    expansion: float
    filters: int
    size: int
    stride: int
    squeeze: bool
    activation: str


LARGE = (
    Row(1, 16, 3, 1, False, "relu"),
    Row(4, 24, 3, 2, False, "relu"),
    Row(3, 24, 3, 1, False, "relu"),
    Row(3, 40, 5, 2, True, "relu"),
    Row(3, 40, 5, 1, True, "relu"),
    Row(3, 40, 5, 1, True, "relu"),
    Row(6, 80, 3, 2, False, "hard_swish"),
    Row(2.5, 80, 3, 1, False, "hard_swish"),
    Row(2.3, 80, 3, 1, False, "hard_swish"),
    Row(2.3, 80, 3, 1, False, "hard_swish"),
    Row(6, 112, 3, 1, True, "hard_swish"),
    Row(6, 112, 3, 1, True, "hard_swish"),
    Row(6, 160, 5, 2, True, "hard_swish"),
    Row(6, 160, 5, 1, True, "hard_swish"),
    Row(6, 160, 5, 1, True, "hard_swish"),
)
SMALL = (
    Row(1, 16, 3, 2, True, "relu"),
    Row(72 / 16, 24, 3, 2, False, "relu"),
    Row(88 / 24, 24, 3, 1, False, "relu"),
    Row(4, 40, 5, 2, True, "hard_swish"),
    Row(6, 40, 5, 1, True, "hard_swish"),
    Row(6, 40, 5, 1, True, "hard_swish"),
    Row(3, 48, 5, 1, True, "hard_swish"),
    Row(3, 48, 5, 1, True, "hard_swish"),
    Row(6, 96, 5, 2, True, "hard_swish"),
    Row(6, 96, 5, 1, True, "hard_swish"),
    Row(6, 96, 5, 1, True, "hard_swish"),
)
# The rows, and the features before the head.
VARIANTS = {"large": (LARGE, 1280), "small": (SMALL, 1024)}
STEM = 16


@registered
class MobileNetV3(Net):
    """See `mobilenet_v3` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        variant: str,
        width: float,
        norm: str,
        groups: int,
        head_zero_init: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        rows, features = VARIANTS[variant]
        self.conv, self.conv_norm = Conv2D(STEM, 3, 2, "same", name="conv"), NORMS[norm](STEM, groups, "conv_norm")
        self.blocks, channels = [], STEM
        for number, row in enumerate(rows):
            filters = rounded(row.filters * width)
            # The first row has no expansion, whatever the numbers say.
            hidden = rounded(channels * row.expansion) if number else channels
            name = f"expanded_conv_{number}" if number else "expanded_conv"
            block = InvertedResidual(channels, hidden, filters, *row[2:], norm, groups, name=name)
            self.blocks.append(block)
            channels = filters
        last = rounded(6 * channels)
        self.conv_1, self.conv_1_norm = Conv2D(last, 1, name="conv_1"), NORMS[norm](last, groups, "conv_1_norm")
        self.conv_2 = Dense(rounded(features * max(1.0, width)), name="conv_2")
        self.head = Dense(num_classes, name="head")
        self.zero_kernels = ("head/kernel",) if head_zero_init else ()

    def call(self, x_bhwc: Tensor, training: bool = False) -> Tensor:
        # Keras hands `training` down to the norms by itself.
        del training
        x = ops.hard_silu(self.conv_norm(self.conv(x_bhwc)))
        for block in self.blocks:
            x = block(x)
        x = ops.hard_silu(self.conv_1_norm(self.conv_1(x)))
        return self.head(ops.hard_silu(self.conv_2(kernels.global_mean(x))))


def mobilenet_v3(
    num_classes: int,
    image_size: int,
    variant: Literal["large", "small"] = "large",
    width: float = 1.0,
    norm: Literal["group", "batch"] = "group",
    groups: int = 8,
    head_zero_init: bool = True,
) -> keras.Model:
    """Build a MobileNetV3.

    Args:
        num_classes: logits it gives, at least 1.
        image_size: side of the square views, in pixels; the built model takes other sizes as well.
        variant: "large" (5.5 million parameters with 1000 classes) or "small" (2.5 million).
        width: multiplies all channels but the stem's, which then are rounded to multiples of 8; more than 0.
        norm: "group" (76.31 % in the paper after 1200 epochs) or "batch" (73.51 %).
        groups: of a group norm, where they divide its channels: see `groups_for`.
        head_zero_init: start the head's kernel at zero, as the paper's ResNets do.

    Returns:
        A built model whose variables are still zero: see `framework.models.initial.initialise`.

    Raises:
        UserError: an unknown variant or norm, or a number out of range.
    """
    for option, value, allowed in (("variant", variant, VARIANTS), ("norm", norm, NORMS)):
        if value not in allowed:
            raise UserError(f"mobilenet_v3: {option}={value!r}; allowed: {', '.join(allowed)}")
    if not width > 0:
        raise UserError(f"mobilenet_v3: width={width} must be more than 0")
    if groups < 1:
        raise UserError(f"mobilenet_v3: groups={groups} must be at least 1")
    model = MobileNetV3(num_classes, variant, width, norm, groups, head_zero_init, name="mobilenet_v3")
    model.build((None, image_size, image_size, 3))
    return model

"""MobileNetV3, Large and Small, with GroupNorm as the paper's students have it or with BatchNorm as published.

Layers are named as elsewhere (`conv`, `expanded_conv_1/depthwise`, `conv_2`), a norm after its convolution
(`expanded_conv_1/depthwise_norm`). Padding and channel numbers are those of TensorFlow's models, so their weights fit;
the dropout before the head is left out, as the paper uses none of the original's training tricks.

Reference: Howard et al., Searching for MobileNetV3 (arXiv 1905.02244); "A good teacher is patient and consistent",
section 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from framework import kernels
from framework.errors import UserError
from framework.models.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    GroupNorm,
    Net,
    Shape,
    Tensor,
    build_in_turn,
    registered,
)


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
ACTIVATIONS = {"relu": ops.relu, "hard_swish": ops.hard_silu}
NORMS: dict[str, Callable[[int, int, str], Any]] = {
    "group": lambda channels, groups, name: GroupNorm(groups_for(channels, groups), name=name),
    "batch": lambda channels, groups, name: BatchNorm(name=name),
}


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never more than a tenth below.

    >>> rounded(12), rounded(11), rounded(18), rounded(72 * 0.25)
    (16, 16, 24, 24)
    """
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def groups_for(channels: int, groups: int) -> int:
    """How many groups a norm has: `groups`, or its greatest divisor that divides the channels too.

    >>> groups_for(16, 8), groups_for(24, 16), groups_for(12, 8)
    (8, 8, 4)
    """
    return math.gcd(channels, groups)


@registered
class SqueezeExcite(keras.layers.Layer):
    """Each channel weighted by a small net of all channels' means: float [B, H, W, C] to the same."""

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.reduce = Dense(rounded(channels / 4), name="reduce")
        self.expand = Dense(channels, name="expand")

    def build(self, input_shape: Shape) -> None:
        self.reduce.build((input_shape[0], self.channels))
        self.expand.build((input_shape[0], self.reduce.units))

    def call(self, x_bhwc: Tensor) -> Tensor:
        weights_bc = ops.hard_sigmoid(self.expand(ops.relu(self.reduce(kernels.global_mean(x_bhwc)))))
        return x_bhwc * weights_bc[:, None, None, :]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@registered
class InvertedResidual(keras.layers.Layer):
    """Expand, convolve by channel, weight the channels, project: float [B, H, W, I] to [B, H / stride, W / stride, O].

    Args:
        inputs: channels I that come in.
        hidden: channels in between; with as many as come in there is no expansion.
        filters: channels O that go out.
        size, stride: of the convolution by channel.
        squeeze: weight the channels.
        activation: a name of `ACTIVATIONS`.
        norm: a name of `NORMS`.
        groups: of a group norm.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        filters: int,
        size: int,
        stride: int,
        squeeze: bool,
        activation: str,
        norm: str,
        groups: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = ACTIVATIONS[activation]
        self.adds = stride == 1 and inputs == filters
        make_norm = NORMS[norm]
        self.expand = self.squeeze_excite = None
        if hidden != inputs:
            self.expand, self.expand_norm = Conv2D(hidden, 1, name="expand"), make_norm(hidden, groups, "expand_norm")
        self.depthwise = DepthwiseConv2D(hidden, size, stride, padding="same", name="depthwise")
        self.depthwise_norm = make_norm(hidden, groups, "depthwise_norm")
        if squeeze:
            self.squeeze_excite = SqueezeExcite(hidden, name="squeeze_excite")
        self.project = Conv2D(filters, 1, name="project")
        self.project_norm = make_norm(filters, groups, "project_norm")

    def build(self, input_shape: Shape) -> None:
        expand = [] if self.expand is None else [self.expand, self.expand_norm]
        squeeze = [] if self.squeeze_excite is None else [self.squeeze_excite]
        layers = [*expand, self.depthwise, self.depthwise_norm, *squeeze, self.project, self.project_norm]
        build_in_turn(layers, input_shape)

    def call(self, x_bhwc: Tensor) -> Tensor:
        y = x_bhwc if self.expand is None else self.activation(self.expand_norm(self.expand(x_bhwc)))
        y = self.activation(self.depthwise_norm(self.depthwise(y)))
        y = y if self.squeeze_excite is None else self.squeeze_excite(y)
        y = self.project_norm(self.project(y))
        return x_bhwc + y if self.adds else y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.project.compute_output_shape(self.depthwise.compute_output_shape(input_shape))


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

    def build(self, input_shape: Shape) -> None:
        layers = (self.conv, self.conv_norm, *self.blocks, self.conv_1, self.conv_1_norm)
        shape = build_in_turn(layers, input_shape)
        self.conv_2.build((shape[0], shape[-1]))
        self.head.build((shape[0], self.conv_2.units))

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

"""MobileNet's block, which EfficientNets have too: expand, convolve by channel, weight the channels, project.

Reference: Sandler et al., MobileNetV2 (arXiv 1801.04381); Howard et al., Searching for MobileNetV3 (arXiv 1905.02244).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from framework import kernels
from framework.models.layers import BatchNorm, Composed, Conv2D, Dense, DepthwiseConv2D, GroupNorm, Tensor, registered

ACTIVATIONS = {"relu": ops.relu, "relu6": ops.relu6, "hard_swish": ops.hard_silu}
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
class SqueezeExcite(Composed):
    """Each channel weighted by a small net of all channels' means: float [B, H, W, C] to the same."""

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reduce = Dense(rounded(channels / 4), name="reduce")
        self.expand = Dense(channels, name="expand")

    def call(self, x_bhwc: Tensor) -> Tensor:
        weights_bc = ops.hard_sigmoid(self.expand(ops.relu(self.reduce(kernels.global_mean(x_bhwc)))))
        return x_bhwc * weights_bc[:, None, None, :]


@registered
class InvertedResidual(Composed):
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

    def call(self, x_bhwc: Tensor) -> Tensor:
        y = x_bhwc if self.expand is None else self.activation(self.expand_norm(self.expand(x_bhwc)))
        y = self.activation(self.depthwise_norm(self.depthwise(y)))
        y = y if self.squeeze_excite is None else self.squeeze_excite(y)
        y = self.project_norm(self.project(y))
        return x_bhwc + y if self.adds else y

"""A small convolutional net for small images: convolution, GroupNorm, ReLU; then the mean over space and a dense head.

The showcase's nets (image side 24): teacher `widths=[32, 64, 128], convs_per_stage=2, stem_stride=2`, 292 thousand
parameters; student `widths=[24, 48, 96], stem_stride=2`, 56 thousand. For digits (side 8): `[16, 32, 64]`, 24
thousand, teaches `[8, 16, 16]`, 4 thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from framework import kernels
from framework.errors import UserError
from framework.models.layers import Composed, Conv2D, Dense, Direct, GroupNorm, Net, StdConv2D, Tensor, registered

MAX_GROUPS = 8


@registered
class ConvStage(Composed, Direct):
    """Convolutions of 3x3 at one width, the first of them with the stage's stride, each normalised and rectified."""

    def __init__(self, width: int, convs: int, stride: int, standardised: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        kind = StdConv2D if standardised else Conv2D
        strides = [stride] + [1] * (convs - 1)
        self.convs = [kind(width, 3, step, name=f"conv{i}") for i, step in enumerate(strides, start=1)]
        groups = math.gcd(MAX_GROUPS, width)
        self.norms = [GroupNorm(groups, name=f"norm{i}") for i in range(1, convs + 1)]

    def call(self, x_bhwc: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_bhwc = norm(conv(x_bhwc), relu=True)
        return x_bhwc


@registered
class ConvNet(Net):
    """See `convnet` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        widths: Sequence[int],
        convs_per_stage: int = 1,
        stem_stride: int = 1,
        standardised: bool = False,
        head_zero_init: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        strides = [stem_stride] + [2] * (len(widths) - 1)
        self.stages = [
            ConvStage(width, convs_per_stage, stride, standardised, name=f"stage{i}")
            for i, (width, stride) in enumerate(zip(widths, strides, strict=True), start=1)
        ]
        self.head = Dense(num_classes, name="head")
        self.zero_kernels = ("head/kernel",) if head_zero_init else ()

    def call(self, x_bhwc: Tensor) -> Tensor:
        for stage in self.stages:
            x_bhwc = stage(x_bhwc)
        return self.head(kernels.global_mean(x_bhwc))


def convnet(
    num_classes: int,
    image_size: int,
    widths: Sequence[int] | int = (16, 32, 64),
    convs_per_stage: int = 1,
    stem_stride: int = 1,
    standardised: bool = False,
    head_zero_init: bool = False,
) -> keras.Model:
    """Build a small convnet.

    Args:
        num_classes: logits it gives, at least 1.
        image_size: side of the square views, in pixels.
        widths: channels of each stage, or of the only one; a stage after the first halves the map.
        convs_per_stage: 3x3 convolutions in each stage.
        stem_stride: stride of the very first convolution.
        standardised: standardise the kernels (`StdConv2D`); plain convolutions otherwise.
        head_zero_init: start the head's kernel at zero.

    Returns:
        A built model whose variables are still zero: see `framework.models.initial.initialise`.

    Raises:
        UserError: a size is not a positive whole number.
    """
    stages = widths if isinstance(widths, Sequence) else (widths,)
    sizes = {"widths": list(stages), "convs_per_stage": [convs_per_stage], "stem_stride": [stem_stride]}
    for name, values in sizes.items():
        if not values or any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in values):
            raise UserError(f"convnet: {name}={values} must be positive whole numbers, e.g. widths=[16, 32, 64]")
    model = ConvNet(num_classes, stages, convs_per_stage, stem_stride, standardised, head_zero_init, name="convnet")
    model.build((None, image_size, image_size, 3))
    return model

"""BiT's ResNetV2 with GroupNorm and weight standardisation, the paper's student and teacher, any depth and width.

Parameters carry the authors' names, `block1/unit01/conv1/kernel`, so their checkpoints load by name
(`framework.models.weights`). Where the numerics are easily missed, the code says so.

Reference: Kolesnikov et al., Big Transfer (arXiv 1912.11370), as "A good teacher is patient and consistent" uses it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras

from framework import kernels
from framework.errors import UserError
from framework.models.layers import Composed, Dense, Direct, GroupNorm, Net, Shape, StdConv2D, Tensor, registered

GROUPS = 32
DEPTHS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
ROOT_PADDING = {"-inf": -math.inf, "zero": 0.0}


@registered
class BitUnit(Composed, Direct):
    """A pre-activation bottleneck: float [B, H, W, C] to [B, H / stride, W / stride, 4 * width].

    Args:
        width: channels of the two inner convolutions, a multiple of 32.
        stride: of the 3x3 convolution and of the shortcut.
    """

    def __init__(self, width: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.stride = width, stride
        self.gn1, self.conv1 = GroupNorm(GROUPS, name="gn1"), StdConv2D(width, 1, name="conv1")
        self.gn2, self.conv2 = GroupNorm(GROUPS, name="gn2"), StdConv2D(width, 3, stride, name="conv2")
        self.gn3, self.conv3 = GroupNorm(GROUPS, name="gn3"), StdConv2D(4 * width, 1, name="conv3")
        self.conv_proj: StdConv2D | None = None

    def build(self, input_shape: Shape) -> None:
        if self.stride != 1 or input_shape[-1] != 4 * self.width:
            self.conv_proj = StdConv2D(4 * self.width, 1, self.stride, name="conv_proj")
        super().build(input_shape)

    def call(self, x_bhwc: Tensor) -> Tensor:
        y = self.gn1(x_bhwc, relu=True)
        # The projection sees the activated map, the identity the raw one.
        shortcut = x_bhwc if self.conv_proj is None else self.conv_proj(y)
        y = self.gn2(self.conv1(y), relu=True)
        y = self.gn3(self.conv2(y), relu=True)
        return self.conv3(y) + shortcut


@registered
class BitBlock(Composed, Direct):
    """Units of one width, the first with the block's stride."""

    def __init__(self, units: int, width: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        strides = [stride] + [1] * (units - 1)
        self.units = [BitUnit(width, step, name=f"unit{i:02d}") for i, step in enumerate(strides, start=1)]

    def call(self, x_bhwc: Tensor) -> Tensor:
        for unit in self.units:
            x_bhwc = unit(x_bhwc)
        return x_bhwc


@registered
class BitRoot(Composed, Direct):
    """The 7x7 convolution and the max-pool, both of stride 2: float [B, H, W, 3] to [B, H / 4, W / 4, width].

    Args:
        width: channels.
        padding: what surrounds the map that is pooled: "-inf" or "zero". The map is signed, so this changes logits.
    """

    def __init__(self, width: int, padding: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.padding = width, padding
        self.conv_root = StdConv2D(width, 7, stride=2, name="conv_root")

    def call(self, x_bhwc: Tensor) -> Tensor:
        return kernels.max_pool(self.conv_root(x_bhwc), 3, 2, 1, ROOT_PADDING[self.padding])


@registered
class Bit(Net):
    """See `bit` for the arguments."""

    def __init__(
        self,
        num_classes: int,
        depth: Sequence[int],
        width: float,
        root_padding: str = "-inf",
        head_zero_init: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        base = round(64 * width)
        self.root_block = BitRoot(base, root_padding, name="root_block")
        self.blocks = [
            BitBlock(units, base * 2**stage, 1 if stage == 0 else 2, name=f"block{stage + 1}")
            for stage, units in enumerate(depth)
        ]
        self.norm_pre_head = GroupNorm(GROUPS, name="norm-pre-head")
        self.head = Dense(num_classes, name="head")
        self.zero_kernels = ("head/kernel",) if head_zero_init else ()

    def call(self, x_bhwc: Tensor) -> Tensor:
        x_bhwc = self.root_block(x_bhwc)
        for block in self.blocks:
            x_bhwc = block(x_bhwc)
        return self.head(kernels.global_mean(self.norm_pre_head(x_bhwc, relu=True)))


def bit(
    num_classes: int,
    image_size: int,
    depth: int | Sequence[int] = 50,
    width: float = 1.0,
    root_padding: Literal["-inf", "zero"] = "-inf",
    head_zero_init: bool = True,
) -> keras.Model:
    """Build a BiT ResNetV2.

    Args:
        num_classes: logits it gives, at least 1.
        image_size: side of the square views, in pixels; the built model takes other sizes as well.
        depth: 26, 50, 101, 152, 200, or the units of each block as a list of any length.
        width: multiplies all channels; 64 * width must be a multiple of 32.
        root_padding: "-inf" as the paper's code pads before pooling, or "zero" as the older BiT code and timm do.
        head_zero_init: start the head's kernel at zero.

    Returns:
        A built model whose variables are still zero: see `framework.models.initial.initialise`.

    Raises:
        UserError: an unknown depth, width or padding.
    """
    if root_padding not in ROOT_PADDING:
        raise UserError(f"bit: root_padding={root_padding!r}; allowed: {', '.join(ROOT_PADDING)}")
    if width <= 0 or (64 * width) % GROUPS:
        raise UserError(f"bit: width={width} gives {64 * width:g} channels, which must be a multiple of 32")
    model = Bit(num_classes, _units(depth), width, root_padding, head_zero_init, name="bit")
    model.build((None, image_size, image_size, 3))
    return model


def _units(depth: int | Sequence[int]) -> tuple[int, ...]:
    known = ", ".join(map(str, DEPTHS))
    if isinstance(depth, int):
        if depth not in DEPTHS:
            raise UserError(f"bit: depth={depth}; allowed: {known}, or the units of each block, such as [2, 2, 2, 2]")
        return DEPTHS[depth]
    units = tuple(depth)
    if not units or any(not isinstance(count, int) or count < 1 for count in units):
        raise UserError(f"bit: depth={list(depth)} must list positive whole numbers; or one of {known}")
    return units

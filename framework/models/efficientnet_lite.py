"""EfficientNet-Lite0: MobileNet's blocks with ReLU6 and without squeeze-and-excitation, 4.7 million parameters.

Layers are named `stem`, `block00` to `block15`, `top` and `head`, a norm after its convolution (`stem_norm`). Padding
is TensorFlow's, as in the original; the dropout before the head is left out.

Reference: Tan and Le, EfficientNet (arXiv 1905.11946); the Lite variants are their code's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import keras
from keras import ops

from framework import kernels
from framework.errors import UserError
from framework.models.inverted_residual import NORMS, InvertedResidual
from framework.models.layers import Conv2D, Dense, Net, Tensor, registered

# Blocks of one kind: how many, the kernel's size, the first one's stride, the expansion, channels that go out.
ROWS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, TOP = 32, 1280


def block_shapes() -> Iterator[tuple[int, int, int, int, int]]:
    """Of each block: channels that come in, channels in between, channels that go out, kernel's size, stride.

    >>> list(block_shapes())[:2]
    [(32, 32, 16, 3, 1), (16, 96, 24, 3, 2)]
    """
    channels = STEM
    for repeats, size, stride, expansion, filters in ROWS:
        for repeat in range(repeats):
            yield channels, expansion * channels, filters, size, 1 if repeat else stride
            channels = filters


@registered
class EfficientNetLite(Net):
    """See `efficientnet_lite` for the arguments."""

    def __init__(self, num_classes: int, norm: str, groups: int, head_zero_init: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stem, self.stem_norm = Conv2D(STEM, 3, 2, "same", name="stem"), NORMS[norm](STEM, groups, "stem_norm")
        self.blocks: list[InvertedResidual] = []
        for number, shape in enumerate(block_shapes()):
            self.blocks.append(InvertedResidual(*shape, False, "relu6", norm, groups, name=f"block{number:02}"))
        self.top, self.top_norm = Conv2D(TOP, 1, name="top"), NORMS[norm](TOP, groups, "top_norm")
        self.head = Dense(num_classes, name="head")
        self.zero_kernels = ("head/kernel",) if head_zero_init else ()

    def call(self, x_bhwc: Tensor, training: bool = False) -> Tensor:
        # Keras hands `training` down to the norms by itself.
        del training
        x = ops.relu6(self.stem_norm(self.stem(x_bhwc)))
        for block in self.blocks:
            x = block(x)
        return self.head(kernels.global_mean(ops.relu6(self.top_norm(self.top(x)))))


def efficientnet_lite(
    num_classes: int,
    image_size: int,
    norm: Literal["group", "batch"] = "batch",
    groups: int = 8,
    head_zero_init: bool = True,
) -> keras.Model:
    """Build an EfficientNet-Lite0.

    Args:
        num_classes: logits it gives, at least 1.
        image_size: side of the square views, in pixels; the published weights are for 224.
        norm: "batch" as published, or "group".
        groups: of a group norm, where they divide its channels.
        head_zero_init: start the head's kernel at zero.

    Returns:
        A built model whose variables are still zero: see `framework.models.initial.initialise`.

    Raises:
        UserError: an unknown norm, or a number out of range.
    """
    if norm not in NORMS:
        raise UserError(f"efficientnet_lite: norm={norm!r}; allowed: {', '.join(NORMS)}")
    if groups < 1:
        raise UserError(f"efficientnet_lite: groups={groups} must be at least 1")
    model = EfficientNetLite(num_classes, norm, groups, head_zero_init, name="efficientnet_lite")
    model.build((None, image_size, image_size, 3))
    return model

"""The operations that our models are made of, each with its numbers: `framework.models.plain` writes a model so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Array = np.ndarray
Pads = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution without bias: `kernel` float [h, w, I / groups, O]; zeros around as `pads` says."""

    kernel: Array
    stride: int
    pads: Pads
    groups: int


@dataclass(frozen=True, eq=False)
class GroupNorm:
    """Group normalisation: `scale` and `bias` float [C]."""

    scale: Array
    bias: Array
    groups: int
    epsilon: float


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Batch normalisation by stored statistics: all float [C]."""

    scale: Array
    bias: Array
    mean: Array
    variance: Array
    epsilon: float


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The greatest value of each window; `pads` hold `value`: -inf, which never wins, or 0."""

    size: int
    stride: int
    pads: Pads
    value: float


@dataclass(frozen=True, eq=False)
class Dense:
    """An affine map: `kernel` float [F, C], `bias` [C]."""

    kernel: Array
    bias: Array


@dataclass(frozen=True)
class Activation:
    """`relu`, `relu6`, `hard_silu` (x * relu6(x + 3) / 6) or `hard_sigmoid` (relu6(x + 3) / 6), of each value."""

    kind: str


@dataclass(frozen=True)
class Add:
    """The sum of two maps."""


@dataclass(frozen=True)
class Weight:
    """A map [B, H, W, C] times weights [B, C] of its channels."""


@dataclass(frozen=True)
class Mean:
    """The mean over space: [B, H, W, C] to [B, C]."""


Operation: TypeAlias = Conv | GroupNorm | BatchNorm | MaxPool | Dense | Activation | Add | Weight | Mean


@dataclass(frozen=True)
class Step:
    """One operation of a model.

    Attributes:
        name: of the layer, `block1/unit01/conv1`; unique.
        does: the operation.
        inputs: names of the steps whose results it takes; `views` are the model's own.
    """

    name: str
    does: Operation
    inputs: tuple[str, ...]


VIEWS = "views"

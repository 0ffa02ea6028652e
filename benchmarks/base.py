"""What a hand-written step is asked to do, in plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]
Step = Callable[[Arrays], Any]

BIT_GROUPS, CONVNET_GROUPS = 32, 8
# Units of a BiT's blocks by its depth.
UNITS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True, kw_only=True)
class Net:
    """A net whose parameters go by the project's names, `block1/unit01/conv1/kernel`.

    Attributes:
        kind: `bit` or `convnet`.
        stages: units of each block (`bit`), or channels of each stage (`convnet`).
        width: channels of the root (`bit`); not used by `convnet`.
        classes: logits.
    """

    kind: str
    stages: tuple[int, ...]
    width: int = 64
    classes: int = 10


@dataclass(frozen=True, kw_only=True)
class Work:
    """One distillation step: crop, flip, mixup, KL to a frozen teacher, AdamW with clipping.

    Attributes:
        student, teacher: the nets.
        size: S, side of the views in pixels.
        mixed: whether the nets compute in bfloat16, but for norms and logits; parameters and optimizer stay in float32.
        temperature: T of the KL, which carries the factor T².
        lr, weight_decay, b1, b2, epsilon, clip_norm: of the authors' AdamW: the decay follows the schedule, not lr.
        factor: the schedule's factor before a step, given the number of updates done.
    """

    student: Net
    teacher: Net
    size: int
    mixed: bool = False
    temperature: float
    lr: float
    weight_decay: float
    b1: float
    b2: float
    epsilon: float
    clip_norm: float
    factor: Callable[[int], float]

    def scalars(self, step: int) -> tuple[float, float, float]:
        """The schedule's factor and Adam's two bias corrections for the update after `step` others."""
        return self.factor(step), 1 - self.b1 ** (step + 1), 1 - self.b2 ** (step + 1)


class Make(Protocol):
    """Makes a step of initial weights."""

    def __call__(self, work: Work, student: Arrays, teacher: Arrays, device: Any) -> Step:
        """A function that does one update and returns the loss, a scalar that may still be on the device.

        It takes `mix` (float32, the example's own share) with `images` (uint8 [B, H, W, 3]), `boxes` (float32 [B, 4]:
        y, x, height, width in pixels) and `flips` (float32 [B]); or with `views` ([B, S, S, 3], float32 in [-1, 1] or
        whole grey levels in uint8).
        """


def groups_of(channels: int) -> int:
    """The groups of a convnet's normalisation."""
    return math.gcd(CONVNET_GROUPS, channels)

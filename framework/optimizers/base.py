"""What a trainer knows of an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
from keras import ops

from framework.spec.schedules import Schedule

Tensor = Any
Scalars = Mapping[str, Any]


class Optimizer(Protocol):
    """A pure update rule.

    Attributes:
        moments: the state's names, each with the dtype that it is stored in (None: the parameter's, at least float32).
    """

    moments: Mapping[str, str | None]

    def scalars(self, step: int, schedule: Schedule) -> dict[str, float]:
        """What depends on the step alone, computed on the host in double precision."""

    def update(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        moments: dict[str, list[Tensor]],
        decayed: Sequence[bool],
        scalars: Scalars,
    ) -> tuple[list[Tensor], dict[str, list[Tensor]], Tensor]:
        """New parameters, new moments and the gradient's global norm; written in `keras.ops`."""


def decays(path: str, rank: int = 0) -> bool:
    """Whether weight decay applies to a parameter: to kernels, not to norms and biases (the authors' `.*/kernel`).

    Args:
        path: its name, `block1/conv1/kernel`.
        rank: its number of axes: torch calls a kernel `weight`, and a norm's scale too, which has one axis.
    """
    role = path.rsplit("/", 1)[-1]
    return role.endswith("kernel") or (role == "weight" and rank > 1)


def widened(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Half precision as float32: 0.999 is 1 in bfloat16, and most updates are smaller than its rounding."""
    half = ("bfloat16", "float16")
    return [ops.cast(t, "float32") if keras.backend.standardize_dtype(t.dtype) in half else t for t in tensors]

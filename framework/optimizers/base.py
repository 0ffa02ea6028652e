"""What a trainer knows of an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
from keras import ops

from framework.spec.schedules import Schedule

Tensor = Any
Tensors = Sequence[Tensor]
Moments = dict[str, list[Tensor]]
Scalars = Mapping[str, Any]
# New parameters, new moments, and the gradients' global norm before clipping.
Updated = tuple[Tensors, Moments, Tensor]


class Optimizer(Protocol):
    """A pure update rule.

    Attributes:
        moments: the state's names, each with the dtype that it is stored in (None: the parameter's, at least float32).
    """

    moments: Mapping[str, str | None]

    def scalars(self, step: int, schedule: Schedule) -> dict[str, float]:
        """What depends on the step alone, computed on the host in double precision."""

    def update(
        self, params: Tensors, grads: Tensors, moments: Moments, decayed: Sequence[bool], scalars: Scalars
    ) -> Updated:
        """New parameters, new moments and the gradient's global norm; written in `keras.ops`."""


def decays(path: str, rank: int = 0) -> bool:
    """Whether weight decay applies to a parameter: to kernels, not to norms and biases (the authors' `.*/kernel`).

    Args:
        path: its name, `block1/conv1/kernel`.
        rank: its number of axes: torch calls a kernel `weight`, and a norm's scale too, which has one axis.
    """
    role = path.rsplit("/", 1)[-1]
    return role.endswith("kernel") or (role == "weight" and rank > 1)


def widened(tensors: Tensors) -> list[Tensor]:
    """Half precision as float32: 0.999 is 1 in bfloat16, and most updates are smaller than its rounding."""
    half = ("bfloat16", "float16")
    return [ops.cast(t, "float32") if keras.backend.standardize_dtype(t.dtype) in half else t for t in tensors]

"""A model called with numbers outside of any training, to see what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from framework.task import mode

Tensor = Any
Call = Callable[[keras.Model, Sequence[Tensor], bool], list[Any]]


def called(model: keras.Model, batches: Sequence[Tensor], training: bool = False) -> list[Any]:
    """What a model gives for each of some batches; what it changes in its variables stays changed.

    Args:
        model: a built Keras model.
        batches: float [B, S, S, 3], all of one shape, in the model's own input range.
        training: in which mode it is called.

    Returns:
        Its outputs as they are, of whatever kind.
    """
    return _call[0](model, batches, training)


def plainly(model: keras.Model, batches: Sequence[Tensor], training: bool) -> list[Any]:
    """As `called`, without a backend's help."""
    return [model(_beside(views, model), **mode(model, training)) for views in batches]


_call: list[Call] = [plainly]


def install_call(call: Call | None) -> None:
    """Let a backend call models in its own way, compiled for one; None takes that back."""
    _call[:] = [call or plainly]


def _beside(views: Tensor, model: keras.Model) -> Tensor:
    """The views on the model's device: a model of PyTorch's isn't on the accelerator yet."""
    place = getattr(model.variables[0].value, "device", None) if model.variables else None
    moves = hasattr(views, "to") and hasattr(place, "type")
    return views.to(place) if moves else views

"""Models of nothing but arithmetic, which may be called without Keras's preparations."""

from __future__ import annotations

from typing import Any

import keras

Tensor = Any


class Direct(keras.layers.Layer):
    """A layer that is nothing but arithmetic on its input, and may be called without Keras's preparations.

    These (casting, masks, the training mode, names) take longer than the arithmetic where a backend runs each operation
    by itself on small images.
    """

    def __call__(self, x: Tensor, *others: Any, **keywords: Any) -> Tensor:
        return self.call(x, *others, **keywords) if _now.direct else super().__call__(x, *others, **keywords)


class _Now:
    """How the process's models are called: in a plain value, because `torch.compile` can't look into a `ContextVar`."""

    def __init__(self) -> None:
        self.direct = False


_now = _Now()


def is_direct(model: keras.Model) -> bool:
    """Whether a model is made of `Direct` layers alone, all in the dtype of its variables and of the views."""
    layers, dtype = list(model._flatten_layers(include_self=False)), keras.config.floatx()
    own = type(model).__module__.startswith("framework.models.") and bool(layers)
    # Rematerialisation is one of Keras's preparations.
    return own and all(
        isinstance(e, Direct) and e.compute_dtype == e.variable_dtype == dtype and e._remat_mode is None for e in layers
    )


def call_directly(model: keras.Model, view: Tensor) -> Tensor:
    """The logits of a model that `is_direct`."""
    _now.direct = True
    try:
        return model.call(view)
    finally:
        _now.direct = False

"""A model whose logits come in another order: a teacher whose classes are the data's, numbered in its own way."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from framework.models.layers import Composed, Tensor


class Reordered(Composed, keras.Model):
    """Another model with its outputs permuted: views float [B, S, S, 3] to logits [B, C].

    Args:
        model: a built Keras model that gives logits [B, C].
        order: C places; output i is the model's output `order[i]`.
    """

    def __init__(self, model: keras.Model, order: Sequence[int]) -> None:
        super().__init__()
        self.model, self.order = model, [int(place) for place in order]

    def call(self, x_bhwc: Tensor) -> Tensor:
        return ops.take(self.model(x_bhwc), ops.convert_to_tensor(self.order, dtype="int32"), axis=-1)

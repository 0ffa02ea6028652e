"""A small model, its card and its weights, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import numpy as np

from framework.files.stored import ModelCard

CARD = ModelCard(name="convnet", options={"widths": [4]}, classes=("a", "b"), num_classes=2, image_size=8)


def build(num_classes: int = 2, seed: int = 0) -> Any:
    from framework.models import catalog

    return catalog.build("convnet", {"widths": [4]}, num_classes, 8, seed)


def values_of(model: Any) -> dict[str, Any]:
    import keras

    from framework.models.initial import parameters

    return {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in parameters(model).items()}

"""Models with all that ours are made of, and parameters that make each of them count."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from framework.models import catalog
from framework.models.initial import parameters

# Odd sides and even ones, since they are padded otherwise.
SHAPES: list[tuple[str, dict[str, Any], int]] = [
    ("convnet", {"widths": [8, 16], "convs_per_stage": 2, "stem_stride": 2, "standardised": True}, 12),
    ("bit", {"depth": [2, 1], "width": 0.5}, 32),
    ("bit", {"depth": [1], "width": 0.5}, 27),
    ("bit", {"depth": [1], "width": 0.5, "root_padding": "zero"}, 19),
    ("mobilenet_v3", {"variant": "small", "width": 0.25}, 33),
    ("mobilenet_v3", {"variant": "small", "width": 0.25, "norm": "batch"}, 32),
    ("efficientnet_lite", {}, 32),
]


def random_model(name: str, options: dict[str, Any], size: int) -> keras.Model:
    """Such a model of five classes; nothing in it is zero or one, as it is at the start."""
    model, random = catalog.build(name, options, 5, size, 3), np.random.default_rng(2)
    for path, variable in parameters(model).items():
        role = path.rsplit("/", 1)[-1]
        if role in ("scale", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape).astype(np.float32))
        elif role != "kernel" or path == "head/kernel":
            variable.assign(random.normal(0, 0.3, variable.shape).astype(np.float32))
    return model

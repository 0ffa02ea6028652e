"""Models of somebody else's, each made of its own library's parts."""

from __future__ import annotations

from typing import Any


def keras_net(num_classes: int, image_size: int) -> Any:
    import keras

    return keras.Sequential(
        [
            keras.Input((image_size, image_size, 3)),
            keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(num_classes),
        ]
    )


def torch_net(num_classes: int, image_size: int) -> Any:
    from torch import nn

    size = image_size // 2
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * size * size, num_classes)
    )


def flax_net(num_classes: int, image_size: int) -> Any:
    from flax import linen as nn

    return nn.Sequential([nn.Conv(4, (3, 3)), nn.relu, lambda x: x.mean((1, 2)), nn.Dense(num_classes)])

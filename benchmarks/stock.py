"""The same nets in Keras's own layers, under `keras.distillation.Distiller`: what a Keras user would write.

The crops, the flips and the mixing are in the input pipeline, a `PyDataset` that cuts with cv2 in two threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import keras
import numpy as np
from keras import layers, ops

from benchmarks.base import BIT_GROUPS, Arrays, Net, Work, groups_of

Tensor = Any


@keras.saving.register_keras_serializable("benchmarks")
class StdConv2D(layers.Conv2D):
    """A convolution whose kernel is standardised."""

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolve with the standardised kernel."""
        kernel = ops.convert_to_tensor(kernel)
        mean, variance = ops.moments(kernel, (0, 1, 2))
        return super().convolution_op(inputs, (kernel - mean) * ops.rsqrt(variance + 1e-10))


def conv(x: Tensor, width: int, size: int, stride: int, name: str, kind: type[layers.Conv2D] = StdConv2D) -> Tensor:
    """A convolution padded by half the kernel on all sides."""
    if size > 1:
        x = layers.ZeroPadding2D(size // 2)(x)
    return kind(width, size, stride, use_bias=False, name=name)(x)


def norm(x: Tensor, groups: int, name: str) -> Tensor:
    """GroupNorm and ReLU."""
    return layers.ReLU()(layers.GroupNormalization(groups, epsilon=1e-5, name=name)(x))


def unit(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    """BiT's pre-activation bottleneck."""
    y = norm(x, BIT_GROUPS, f"{name}-gn1")
    projects = stride != 1 or x.shape[-1] != 4 * width
    shortcut = conv(y, 4 * width, 1, stride, f"{name}-conv_proj") if projects else x
    y = norm(conv(y, width, 1, 1, f"{name}-conv1"), BIT_GROUPS, f"{name}-gn2")
    y = norm(conv(y, width, 3, stride, f"{name}-conv2"), BIT_GROUPS, f"{name}-gn3")
    return layers.Add()([conv(y, 4 * width, 1, 1, f"{name}-conv3"), shortcut])


def bit(net: Net, x: Tensor) -> Tensor:
    """A BiT ResNetV2's last map."""
    x = conv(x, net.width, 7, 2, "root_block-conv_root")
    # Padding that never wins: ZeroPadding2D pads with zeros only.
    x = layers.Lambda(lambda y: ops.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1e30))(x)
    x = layers.MaxPooling2D(3, 2)(x)
    for stage, units in enumerate(net.stages):
        for number in range(units):
            name = f"block{stage + 1}-unit{number + 1:02d}"
            x = unit(x, net.width * 2**stage, 2 if stage and not number else 1, name)
    return norm(x, BIT_GROUPS, "norm-pre-head")


def convnet(net: Net, x: Tensor) -> Tensor:
    """3x3 convolutions, each normalised and rectified; the last map."""
    for stage, width in enumerate(net.stages):
        x = conv(x, width, 3, 2 if stage else 1, f"stage{stage + 1}-conv1", layers.Conv2D)
        x = norm(x, groups_of(width), f"stage{stage + 1}-norm1")
    return x


NETS: dict[str, Callable[[Net, Tensor], Tensor]] = {"bit": bit, "convnet": convnet}
ROLES = {"scale": "gamma", "bias": "beta", "kernel": "kernel"}


def filled(net: Net, size: int, arrays: Arrays) -> keras.Model:
    """The net with its weights."""
    views = keras.Input((size, size, 3))
    x = layers.GlobalAveragePooling2D()(NETS[net.kind](net, views))
    model = keras.Model(views, layers.Dense(net.classes, name="head")(x))
    for name, array in arrays.items():
        path, _, role = name.rpartition("/")
        layer = model.get_layer(path.replace("/", "-"))
        variable = getattr(layer, ROLES[role] if array.ndim == 4 else role)
        variable.assign(array.reshape(variable.shape))
    return model


class Views(keras.utils.PyDataset):
    """Batches that are cropped, flipped and mixed as they are asked for.

    Args:
        images: uint8 images [H, W, 3] of any sizes, by number.
        work: the step.
        batches: how many there are.
        draw: given a batch's number, its images' numbers, boxes (y, x, height, width), flips and factor of mixing.
    """

    def __init__(
        self,
        images: Callable[[np.ndarray], Sequence[np.ndarray]],
        work: Work,
        batches: int,
        draw: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray, float]],
    ) -> None:
        super().__init__(workers=2, use_multiprocessing=False, max_queue_size=4)
        self.images, self.work, self.batches, self.draw = images, work, batches, draw

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One batch, and labels that have no weight."""
        ids, boxes, flips, factor = self.draw(index)
        size = self.work.size
        views = np.empty((len(ids), size, size, 3), np.float32)
        for place, image in enumerate(self.images(ids)):
            y, x, height, width = boxes[place].astype(int)
            cut = cv2.resize(image[y : y + height, x : x + width].astype(np.float32), (size, size))
            views[place] = cut[:, ::-1] if flips[place] else cut
        views = views * np.float32(2 / 255) - np.float32(1)
        mixed = np.float32(factor) * views + np.float32(1 - factor) * np.roll(views, 1, 0)
        return mixed, np.zeros(len(ids), np.int32)


def distiller(work: Work, student: Arrays, teacher: Arrays, total_steps: int, warmup: int) -> keras.Model:
    """A compiled `Distiller` from the given weights."""
    pupil, frozen = (
        filled(net, work.size, arrays) for net, arrays in ((work.student, student), (work.teacher, teacher))
    )
    loss = keras.distillation.LogitsDistillation(work.temperature, keras.losses.KLDivergence())
    model = keras.distillation.Distiller(frozen, pupil, loss, student_loss_weight=0.0)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else work.lr, total_steps - warmup, warmup_target=work.lr if warmup else None, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=work.weight_decay / work.lr,
        beta_1=work.b1,
        beta_2=work.b2,
        epsilon=work.epsilon,
        global_clipnorm=work.clip_norm,
    )
    model.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

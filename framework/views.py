"""From canvases and draws to views, inside the compiled step: crop-resize, flip, range, added augmentations, mixup.

Crop and resize are two batched interpolation matmuls that equal `tf.image.resize` (bilinear, half-pixel centres,
antialias off) of the cropped window. Shapes: B batch, H and W canvas, S view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from framework.data.hostviews import to_range
from framework.errors import UserError
from framework.kernels import Kernel
from framework.spec import ViewsSpec
from framework.spec.named import find

Tensor = Any
Augmentation = Callable[[Tensor, Tensor], Tensor]


def render(
    images: Tensor, boxes: Tensor, flips: Tensor, extra: Tensor, spec: ViewsSpec, dtype: str, beyond: bool = False
) -> Tensor:
    """Make one view of each image.

    Args:
        images: uint8 [B, H, W, 3].
        boxes: float [B, 4], (y, x, height, width) in pixels.
        flips: float [B], 1 to mirror.
        extra: float [B, E, 8] in [0, 1), one row for each of `spec.augmentations`.
        spec: size, truncation and augmentations count.
        dtype: of the arithmetic and the result.
        beyond: pixels beyond the box count, as where an image is resized before it is cropped; else the box's edge is
            repeated.

    Returns:
        [B, S, S, 3] in [-1, 1].
    """
    boxes, flips = ops.cast(boxes, dtype), ops.cast(flips, dtype)
    pixels = crop_resize(ops.cast(images, dtype), boxes, flips, spec.size, dtype, beyond)
    if spec.truncate:
        # The authors cast to uint8. The margin keeps what is a whole level but for rounding, 74.99999, at its level.
        pixels = ops.floor(pixels + 1e-4)
    return augment(pixels * (2.0 / 255.0) - 1.0, extra, spec)


# The value of each grey level: looked up, because a compiler may fuse a product and a difference, and round once.
LEVELS = to_range(np.arange(256, dtype=np.float32))


@Kernel
def of_levels(levels: Tensor, dtype: str) -> Tensor:
    """Bring whole grey levels to [-1, 1], to the last bit as the host does: uint8 [...] to [...] of `dtype`."""
    return ops.cast(ops.take(ops.convert_to_tensor(LEVELS), ops.cast(levels, "int32"), axis=0), dtype)


def given(view: Tensor, dtype: str) -> Tensor:
    """A view that was made on the host, whole levels or a range already: float [B, S, S, 3] in [-1, 1]."""
    whole = keras.backend.standardize_dtype(view.dtype) == "uint8"
    return of_levels(view, dtype) if whole else ops.cast(view, dtype)


def augment(views: Tensor, extra: Tensor, spec: ViewsSpec) -> Tensor:
    """Apply the added augmentations, each with its own eight uniform numbers; shapes as in `render`."""
    for index, name in enumerate(spec.augmentations):
        augmentation = find(name, AUGMENTATIONS, "views.augmentations")
        views = augmentation(views, ops.cast(extra[:, index], views.dtype))
    return views


@Kernel
def crop_resize(images: Tensor, boxes: Tensor, flips: Tensor, size: int, dtype: str, beyond: bool = False) -> Tensor:
    """Cut the boxes, resize them to [S, S] and mirror them; values stay in [0, 255]; arguments as in `render`."""
    _, height, width, channels = images.shape
    zeros = ops.zeros_like(flips)
    rows = _interpolation(boxes[:, 0], boxes[:, 2], zeros, height, size, dtype, beyond)
    columns = _interpolation(boxes[:, 1], boxes[:, 3], flips, width, size, dtype, beyond)
    tall = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))
    # [B, S, W, 3] to [B, W, S * 3]: the order in which both products are plain matmuls of contiguous operands.
    tall = ops.transpose(ops.reshape(tall, (-1, size, width, channels)), (0, 2, 1, 3))
    wide = ops.matmul(columns, ops.reshape(tall, (-1, width, size * channels)))
    return ops.transpose(ops.reshape(wide, (-1, size, size, channels)), (0, 2, 1, 3))


def _interpolation(
    start: Tensor, length: Tensor, flips: Tensor, extent: int, size: int, dtype: str, beyond: bool
) -> Tensor:
    """Weights [B, S, extent] of bilinear sampling at half-pixel centres, clamped to the window or to the image."""
    places = ops.cast(ops.arange(size), dtype)[None, :]
    flipped = flips[:, None]
    places = flipped * (size - 1.0 - places) + (1.0 - flipped) * places
    start, length = start[:, None], length[:, None]
    # By a number that is no constant: XLA would multiply by a constant's rounded reciprocal.
    inside = (places + 0.5) * (length / (float(size) + 0.0 * length)) - 0.5
    first, last = (-start, extent - 1.0 - start) if beyond else (ops.zeros_like(start), length - 1.0)
    inside = ops.minimum(ops.maximum(inside, first), last)
    # Counted from the window's start: a place far from the image's corner would lose digits.
    pixels = ops.cast(ops.arange(extent), dtype)[None, :] - start
    distance = ops.absolute(inside[:, :, None] - pixels[:, None, :])
    return ops.maximum(1.0 - distance, ops.zeros_like(distance))


def mix(values: Tensor, factor: Tensor, bounded: bool = False) -> Tensor:
    """Mix each example with the previous one of the batch, the first with the last (the authors' `mixup`).

    Args:
        values: float [B, ...].
        factor: the example's own share, a scalar in [0.5, 1].
        bounded: the first example is only the second one's partner, and not in the result: [B - 1, ...].

    Returns:
        factor * values + (1 - factor) * roll(values, 1), float [B, ...].
    """
    own, partners = (values[1:], values[:-1]) if bounded else (values, ops.roll(values, 1, axis=0))
    return factor * own + (1.0 - factor) * partners


# What a teacher trained elsewhere expects, as (scale, offset) for each channel of views in [-1, 1].
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_SCALE = tuple(0.5 / deviation for deviation in _DEVIATION)
_OFFSET = tuple((0.5 - mean) / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True))
RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...], bool]] = {
    "imagenet": (_SCALE, _OFFSET, False),
    "lite": ((127.5 / 128,) * 3, (0.5 / 128,) * 3, False),
    "unit": ((0.5,) * 3, (0.5,) * 3, False),
    "caffe": ((127.5,) * 3, tuple(127.5 - m for m in _CAFFE_MEAN), True),
    "pixels": ((127.5,) * 3, (127.5,) * 3, False),
}


def normalize(views: Tensor, name: str | None) -> Tensor:
    """Bring mixed views in [-1, 1] to a foreign model's input range.

    Args:
        views: [B, S, S, 3] in [-1, 1].
        name: None, "unit" ([0, 1]), "pixels" ([0, 255]), "imagenet" (mean 0, deviation 1), "caffe" (BGR, 0 to 255
            less the mean) or "lite" ((pixels - 127) / 128).

    Returns:
        [B, S, S, 3].
    """
    if name is None:
        return views
    scale, offset, reverse = RANGES[name]
    views = ops.flip(views, axis=-1) if reverse else views
    return views * constant(scale, views) + constant(offset, views)


@Kernel
def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Numbers in the dtype of another tensor: without it TensorFlow would round them to float32 on the way."""
    return ops.convert_to_tensor(values, dtype=keras.backend.standardize_dtype(like.dtype))


def brightness(views: Tensor, uniforms: Tensor) -> Tensor:
    """Shift each view's brightness by up to a fifth of the range; [B, S, S, 3] with uniform numbers [B, 8]."""
    shift = (uniforms[:, 0] - 0.5) * 0.8
    # A clip to [-1, 1], for which no backend asks the host for its bounds.
    return ops.hard_tanh(views + shift[:, None, None, None])


def grayscale(views: Tensor, uniforms: Tensor) -> Tensor:
    """Take the colour from a fifth of the views; [B, S, S, 3] with uniform numbers [B, 8]."""
    gray = ops.sum(views * constant((0.299, 0.587, 0.114), views), axis=-1, keepdims=True)
    chosen = ops.cast(uniforms[:, 0] < 0.2, views.dtype)[:, None, None, None]
    return chosen * gray + (1.0 - chosen) * views


AUGMENTATIONS: Mapping[str, Augmentation] = {"brightness": brightness, "grayscale": grayscale}


def tried(spec: ViewsSpec) -> None:
    """Try augmentations of one's own on two examples before anything starts.

    Args:
        spec: says which, and the views' size.

    Raises:
        UserError: one fails, or what it returns are not as many finite views of that size and dtype.
    """
    rng = np.random.default_rng(0)
    views = ops.convert_to_tensor(rng.uniform(-1, 1, (2, spec.size, spec.size, 3)), dtype="float32")
    uniforms = ops.convert_to_tensor(rng.uniform(size=(2, 8)), dtype="float32")
    for name in spec.augmentations:
        if name not in AUGMENTATIONS:
            _try(name, find(name, AUGMENTATIONS, "views.augmentations"), views, uniforms)


def _try(name: str, augmentation: Augmentation, views: Tensor, uniforms: Tensor) -> None:
    what = f"views.augmentations: {name!r}"
    try:
        given = augmentation(views, uniforms)
        found = (keras.backend.standardize_dtype(given.dtype), list(given.shape))
        finite = bool(ops.all(ops.isfinite(given)))
    except Exception as error:  # it is the user's code
        raise UserError(
            f"{what} fails on two views with uniform numbers [2, 8]: {type(error).__name__}: {error}"
        ) from error
    expected = ("float32", list(views.shape))
    if found != expected:
        shown = [f"{dtype} {shape}" for dtype, shape in (found, expected)]
        raise UserError(f"{what} returns {shown[0]} for views {shown[1]}: expected the same shape and dtype")
    if not finite:
        raise UserError(f"{what} gives NaN or infinite values for views in [-1, 1]")

"""Everything random about views: crop boxes, flips and the mixing factor, as pure functions of their keys.

Boxes follow TensorFlow's `sample_distorted_bounding_box`, which the authors' `inception_crop` calls: aspect uniform
(not log-uniform), height a uniform integer (so the area is not uniform), upper end of the offsets excluded. Mild and
central crops are windows of the image resized to a square; here they are boxes of the image itself.
"""

from __future__ import annotations

import hashlib

import numpy as np

from framework.draws import keyed
from framework.protocols import Draws, ViewDraws
from framework.spec import DistillSpec, ViewsSpec
from framework.spec.teachings import CONSTANT, Crop

Key = tuple[int | np.ndarray, ...]
Pair = tuple[float, float]
STUDENT_STREAM, TEACHER_STREAM, MIX_STREAM, TARGET_STREAM = 0, 1, 2, 3
_ATTEMPTS = 100
_EXTRA_NUMBERS = 8
_ASPECT, _HEIGHT, _TOP, _LEFT, _FLIP, _EXTRA = range(6)


def draw(spec: DistillSpec, step: int, ids: np.ndarray, epochs: np.ndarray, sizes: np.ndarray) -> Draws:
    """All draws of a step.

    Args:
        spec: the distillation; its seed, teaching and views count.
        step: number of updates done before; key of the mixing factor.
        ids: int64 [B], the examples.
        epochs: int64 [B], the epoch of each.
        sizes: int [B, 2], (height, width) of each canvas in pixels.

    Returns:
        The draws of both views; one object twice where the teaching shares the view.
    """
    teaching = spec.scheme
    student = view_draws(spec, STUDENT_STREAM, ids, epochs, sizes, teaching.student_crop)
    teacher = student
    # Teachers whose targets are made before see no view of a step.
    if not teaching.shared and not teaching.averaged:
        teacher = view_draws(spec, TEACHER_STREAM, ids, epochs, sizes, teaching.teacher_crop)
    return Draws(student, teacher, float(mix_factors(spec.seed, np.array([step]), teaching.mixup)[0]))


def view_draws(
    spec: DistillSpec, stream: int, ids: np.ndarray, epochs: np.ndarray, sizes: np.ndarray, crop: Crop = "inception"
) -> ViewDraws:
    """The draws of one view of each example; shapes as in `draw`."""
    if crop in CONSTANT:
        # Always the same: not mirrored, and nothing added.
        boxes = whole(sizes) if crop == "whole" else central(sizes, spec.views)
        extra = np.zeros((len(sizes), len(spec.views.augmentations), _EXTRA_NUMBERS), np.float32)
        return ViewDraws(boxes.astype(np.float32), np.zeros(len(sizes), np.float32), extra)
    key = (spec.seed, epochs, ids, stream)
    inception = crop == "inception"
    boxes = crop_boxes(sizes, spec.views.area, spec.views.aspect, key) if inception else mild(sizes, spec.views, key)
    flips = (keyed.uniform(*key, _FLIP) < 0.5) & spec.views.flip
    return ViewDraws(boxes.astype(np.float32), flips.astype(np.float32), _extra(spec, key, len(ids)))


def some(draws: Draws, which: np.ndarray | slice, mix: float | None = None) -> Draws:
    """The draws of some examples; `mix` is another mixing factor."""

    def of(view: ViewDraws) -> ViewDraws:
        return ViewDraws(view.boxes[which], view.flips[which], view.extra[which])

    student = of(draws.student)
    return Draws(student, student if draws.shared else of(draws.teacher), draws.mix if mix is None else mix)


def whole(sizes: np.ndarray) -> np.ndarray:
    """The box of the whole image: [B, 4], (y, x, height, width), from int [B, 2] (height, width)."""
    return np.concatenate([np.zeros_like(sizes), sizes], axis=1)


def central(sizes: np.ndarray, views: ViewsSpec) -> np.ndarray:
    """The middle of the image resized to a square, in pixels of the image: float64 [B, 4] from int [B, 2].

    The authors' `resize(160)|central_crop(128)`, whose offset is rounded down (their fixed teaching).
    """
    return _window(sizes, views, np.full(sizes.shape, (views.square - views.size) // 2))


def mild(sizes: np.ndarray, views: ViewsSpec, key: Key) -> np.ndarray:
    """A window anywhere in the image resized to a square, in pixels of the image: float64 [B, 4] from int [B, 2].

    The authors' `resize(160)|random_crop(128)`: both offsets are uniform integers, both ends included.
    """
    uniforms = keyed.uniform(*_wide(key), 0, np.array([_TOP, _LEFT]))
    return _window(sizes, views, _integer(np.array(views.square - views.size + 1), uniforms))


def _window(sizes: np.ndarray, views: ViewsSpec, offsets: np.ndarray) -> np.ndarray:
    """From offsets [B, 2] in pixels of the square to boxes in pixels of images of the given sizes [B, 2]."""
    pixels = sizes / views.square
    return np.concatenate([offsets * pixels, views.size * pixels], axis=1)


def mix_factors(seed: int, steps: np.ndarray, p: float) -> np.ndarray:
    """The share in [0.5, 1] of the example itself: max(a, 1 - a) with a ~ Beta(p, p); 1 where p is 0.

    One factor for the whole batch of a step (as in the authors' `mixup`): float32 [K] from int [K] steps.
    """
    if p == 0:
        return np.ones(len(steps), np.float32)
    values = keyed.uniform(seed, steps, MIX_STREAM)
    if p != 1:
        from scipy.special import betaincinv

        values = betaincinv(p, p, values)
    return np.maximum(values, 1 - values).astype(np.float32)


def crop_boxes(sizes: np.ndarray, area: Pair, aspect: Pair, key: Key) -> np.ndarray:
    """Crop boxes in the distribution of `tf.image.sample_distorted_bounding_box` without objects.

    Args:
        sizes: int [B, 2], (height, width) of the images in pixels.
        area: smallest and largest share of the image's area.
        aspect: smallest and largest width/height.
        key: key of the random numbers; arrays in it have length B.

    Returns:
        int64 [B, 4], (y, x, height, width). After 100 refused attempts the whole image.
    """
    sizes = sizes.astype(np.int64)
    boxes = whole(sizes)
    left = np.arange(len(sizes))
    for attempt in range(_ATTEMPTS):
        part = tuple(word[left] if isinstance(word, np.ndarray) else word for word in key)
        found, accepted = _attempt(sizes[left], area, aspect, (*part, attempt))
        boxes[left[accepted]] = found[accepted]
        left = left[~accepted]
        if not left.size:
            break
    return boxes


def _attempt(sizes: np.ndarray, area: Pair, aspect: Pair, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """One try for each image: boxes [B, 4] and whether each is accepted [B]; `key` is never without an array."""
    full_height, full_width = sizes[:, 0], sizes[:, 1]
    smallest, largest = (share * full_height * full_width for share in area)
    # All four numbers of an example in one call: on a batch of small images the calls are what costs.
    uniforms = keyed.uniform(*_wide(key), np.arange(4))
    ratio = aspect[0] + uniforms[:, _ASPECT] * (aspect[1] - aspect[0])
    high = _largest_height(sizes, largest, ratio)
    low = np.minimum(_round(np.sqrt(smallest / ratio)), high)
    height = low + _integer(high - low + 1, uniforms[:, _HEIGHT])
    width = _round(height * ratio)
    # Rounding may leave the bounds by a pixel: grow, else shrink, both sides by one.
    nudge = (height * width < smallest).astype(np.int64)
    height, width = height + nudge, width + nudge
    nudge = (height * width > largest).astype(np.int64)
    height, width = height - nudge, width - nudge
    accepted = (height * width >= smallest) & (height * width <= largest) & (height > 0) & (width > 0)
    accepted &= (height <= full_height) & (width <= full_width)
    top = _integer(full_height - height, uniforms[:, _TOP])
    left = _integer(full_width - width, uniforms[:, _LEFT])
    return np.stack([top, left, height, width], axis=1), accepted


def _largest_height(sizes: np.ndarray, largest: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """The largest height within the area and the image whose rounded width fits in the image."""
    high = _round(np.sqrt(largest / ratio))
    fitting = np.floor((sizes[:, 1] + 0.5 - 1e-7) / ratio).astype(np.int64)
    fitting -= _round(fitting * ratio) > sizes[:, 1]
    return np.minimum(np.where(_round(high * ratio) > sizes[:, 1], fitting, high), sizes[:, 0])


def _wide(key: Key) -> Key:
    """A key whose arrays have an axis more, for several numbers of each example."""
    return tuple(word[:, None] if isinstance(word, np.ndarray) else word for word in key)


def _round(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.int64)


def _integer(bound: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Uniform integers in [0, bound) from uniform numbers, 0 where the bound is 0 or less."""
    return np.floor(uniforms * np.maximum(bound, 0)).astype(np.int64)


def _extra(spec: DistillSpec, key: Key, count: int) -> np.ndarray:
    numbers = np.arange(_EXTRA_NUMBERS)
    streams = [keyed.uniform(*_wide(key), _EXTRA, index, numbers) for index in range(len(spec.views.augmentations))]
    return np.stack(streams, axis=1).astype(np.float32) if streams else np.zeros((count, 0, _EXTRA_NUMBERS), np.float32)


def draws_hash(draws: Draws) -> str:
    """16 hexadecimal digits over all numbers of a step: equal on two machines where their views are equal."""
    digest = hashlib.sha256(np.float32(draws.mix).tobytes())
    for view in (draws.student, draws.teacher):
        for array in (view.boxes, view.flips, view.extra):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]

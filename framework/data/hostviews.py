"""Views made on the host, for images too large or too varied for the compiled step's matmuls, and evaluation views.

Both equal the authors' pipeline: `tf.image.resize`, bilinear (half-pixel centres, no antialias) or by the area method.
Shapes: H and W image, S view.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from framework.protocols import Array

# The authors cast to uint8. The margin keeps what is a whole level but for rounding, 74.99999, at its level.
_MARGIN = 1e-4


def render_view(
    image: Array,
    box: Array | tuple[float, float, float, float],
    size: int,
    flip: bool,
    truncate: bool,
    beyond: bool = False,
) -> Array:
    """Cut one box out of an image, resize it to a square and mirror it.

    Args:
        image: uint8 [H, W, 3].
        box: (y, x, height, width) inside the image, in pixels; in whole ones unless `beyond`.
        size: S, in pixels.
        flip: mirror left to right, after the crop.
        truncate: round down to whole grey levels.
        beyond: pixels beyond the box count, as where an image is resized before it is cropped; else they are never
            read, and the box's edge is repeated.

    Returns:
        float32 [S, S, 3] in [0, 255].
    """
    import cv2

    if beyond:
        view = _sampled(image, [float(value) for value in box], size)
    else:
        y, x, height, width = (int(value) for value in box)
        view = _bilinear(image[y : y + height, x : x + width], size)
    view = _truncated(view) if truncate else view
    return cv2.flip(view, 1) if flip else view


def evaluation_view(image: Array, resize: int | None, crop: int | None, size: int, truncate: bool = True) -> Array:
    """The one view by which an image is evaluated: shorter side to `resize`, central crop, then to the view's size.

    Args:
        image: uint8 [H, W, 3].
        resize: the shorter side after the first resize (area method); None leaves the image as it is.
        crop: the side of the central square, at most `resize`; None takes all.
        size: S, in pixels; what is left is brought to it (bilinear) where it has another size.
        truncate: round down to whole grey levels after each resize, as the authors' pipeline does.

    Returns:
        float32 [S, S, 3] in [0, 255].

    Raises:
        ValueError: the crop is larger than the image.
    """
    view = image if resize is None else resize_small(image, resize, truncate)
    if crop is not None:
        view = _central_crop(view, crop)
    if view.shape[:2] == (size, size):
        return np.ascontiguousarray(view, np.float32)
    return _truncated(_bilinear(view, size)) if truncate else _bilinear(view, size)


def to_range(pixels: Array, out: Array | None = None) -> Array:
    """From [0, 255] to [-1, 1], float32; into `out` where it is given."""
    views = np.multiply(pixels, np.float32(2 / 255), out=out)
    return np.subtract(views, np.float32(1), out=views)


def resize_small(image: Array, target: int, truncate: bool = True) -> Array:
    """Bring the shorter side to `target` by the area method; sides are rounded half to even.

    Args:
        image: uint8 [H, W, 3].
        target: pixels.
        truncate: round down to whole grey levels.

    Returns:
        float32 [H', W', 3] in [0, 255].
    """
    import cv2

    height, width = image.shape[:2]
    factor = target / min(height, width)
    sides = (round(height * factor), round(width * factor))
    if factor > 1:
        view = _enlarged(image.astype(np.float32), *sides)
        return np.floor(view) if truncate else view
    view = cv2.resize(image.astype(np.float32), sides[::-1], interpolation=cv2.INTER_AREA)
    return _truncated(view) if truncate else view


def _enlarged(image: Array, height: int, width: int) -> Array:
    """The area method for a larger target, where cv2 would interpolate.

    The order of the arithmetic is TensorFlow's, whose rounding decides what truncation makes of whole levels.
    """
    area = (np.float32(image.shape[0]) / np.float32(height)) * (np.float32(image.shape[1]) / np.float32(width))
    return _summed(_summed(image, width, axis=1), height, axis=0) * (np.float32(1) / area)


def _summed(image: Array, size: int, axis: int) -> Array:
    """Along one axis, the sum over the one or two source pixels under each target, each with its share in pixels."""
    extent = image.shape[axis]
    scale = np.float32(extent) / np.float32(size)
    start, stop = np.arange(size, dtype=np.float32) * scale, np.arange(1, size + 1, dtype=np.float32) * scale
    first = np.floor(start)
    share = np.where((first < start) & (first + 1 > stop), scale, np.minimum(stop, first + 1) - start)
    rest = (stop - first - 1).clip(0)
    shape = [size if dimension == axis else 1 for dimension in range(image.ndim)]
    low = image.take(first.astype(int), axis) * share.reshape(shape)
    return low + image.take((first.astype(int) + 1).clip(max=extent - 1), axis) * rest.reshape(shape)


def _bilinear(image: Array, size: int) -> Array:
    import cv2

    return cv2.resize(image.astype(np.float32, copy=False), (size, size), interpolation=cv2.INTER_LINEAR)


def _sampled(image: Array, box: Sequence[float], size: int) -> Array:
    """Bilinear samples at the half-pixel centres of a box of any place; cv2 resizes boxes of whole pixels only."""
    (top, bottom, down), (left, right, along) = (
        _neighbours(box[axis], box[axis + 2], image.shape[axis], size) for axis in (0, 1)
    )

    def row(rows: Array) -> Array:
        first, second = (image[rows[:, None], columns[None]].astype(np.float32) for columns in (left, right))
        return first + (second - first) * along[None, :, None]

    above = row(top)
    return above + (row(bottom) - above) * down[:, None, None]


def _neighbours(start: float, length: float, extent: int, size: int) -> tuple[Array, Array, Array]:
    """Of each sample along one axis, the pixels on both sides (int64 [S]) and the second one's share (float32 [S])."""
    places = start + (np.arange(size) + 0.5) * (length / size) - 0.5
    places = places.clip(0, extent - 1)
    low = np.floor(places).astype(np.int64)
    return low, (low + 1).clip(max=extent - 1), (places - low).astype(np.float32)


def _central_crop(image: Array, crop: int) -> Array:
    height, width = image.shape[:2]
    if crop > min(height, width):
        raise ValueError(f"a central crop of {crop} px does not fit into {height}x{width} px")
    y, x = (height - crop) // 2, (width - crop) // 2
    return image[y : y + crop, x : x + crop]


def _truncated(view: Array) -> Array:
    """In place: means of levels, which leave [0, 255] by their rounding at most."""
    view += _MARGIN
    return np.floor(view, out=view)

"""Views on the host against recorded outputs of the authors' pipeline (preprocess*.npz of tests/golden)."""

from __future__ import annotations

import re

import numpy as np
import pytest

from framework.data.decode import decode
from framework.data.hostviews import evaluation_view, render_view, resize_small, to_range
from framework.draws.views import central
from framework.spec import ViewsSpec
from tests.recorded import params, recordings

GOLDEN = recordings("preprocess")


def keys(part: str) -> list[tuple[str, str]]:
    """The recorded arrays with a part in their names, with their files."""
    return [(file, key) for file, arrays in GOLDEN.items() for key in arrays.files if part in key]


CROP_KEYS = [(file, key) for file, key in keys("/float") if key.startswith("crop")]
CROPS, FILES = params(CROP_KEYS), sorted({file for file, _ in CROP_KEYS})
SMALL = params([(file, key) for file, key in keys("/small") if key.endswith("_uint8")])
CROPPED = params([(file, key) for file, key in keys("/small") if "_crop" in key])
CENTRAL, JPEG = params(keys("_central")), params(keys("jpeg/bytes"))
IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def crop(file: str, key: str, truncate: bool) -> np.ndarray:
    """Our view of a recorded crop, `crop3/float`."""
    golden = GOLDEN[file]
    box = golden["boxes_yxhw"][int(key.partition("/")[0].removeprefix("crop"))]
    return render_view(golden["image"], box, int(golden["size"]), flip=False, truncate=truncate)


@pytest.mark.parametrize(("file", "key"), CROPS)
def test_crops_equal_the_authors_resize(file: str, key: str) -> None:
    view = crop(file, key, truncate=False)
    assert view.dtype == np.float32
    np.testing.assert_allclose(view, GOLDEN[file][key], rtol=0, atol=0.002)


@pytest.mark.parametrize("file", FILES)
def test_truncated_crops_equal_the_authors_uint8(file: str) -> None:
    keys = [key for name, key in CROP_KEYS if name == file]
    views = np.stack([crop(file, key, truncate=True) for key in keys])
    levels, ranges = (
        np.stack([GOLDEN[file][key.replace("float", kind)] for key in keys]) for kind in ("uint8", "value_range")
    )
    difference = np.abs(views - levels.astype(np.float32))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.005  # a level falls to either side where a value is whole but for rounding
    same = difference == 0
    np.testing.assert_allclose(to_range(views)[same], ranges[same], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("file", "key"), CENTRAL)
def test_central_crops_of_the_resized_image_equal_the_authors(file: str, key: str) -> None:
    image = GOLDEN[file][f"{key.partition('/')[0]}/image"]
    resize, size = map(int, re.search(r"resize(\d+)_central(\d+)", key).groups())  # type: ignore[union-attr]
    (box,) = central(np.array([image.shape[:2]]), ViewsSpec(size=size, resize=resize))
    view = render_view(image, box.astype(np.float32), size, flip=False, truncate=True, beyond=True)
    difference = np.abs(view - GOLDEN[file][key].astype(np.float32))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.03


def test_a_window_of_the_resized_image() -> None:
    """Enlarged and then cropped: the window's outer samples lie between its edge and the pixel beyond."""
    whole = (0, 0, *IMAGE.shape[:2])
    resized = render_view(IMAGE, whole, 160, flip=False, truncate=False)
    for top, left in ((32, 7), (0, 32), (17, 0)):
        box = (top / 160 * 37, left / 160 * 53, 128 / 160 * 37, 128 / 160 * 53)
        view = render_view(IMAGE, box, 128, flip=False, truncate=False, beyond=True)
        np.testing.assert_allclose(view, resized[top : top + 128, left : left + 128], rtol=0, atol=2e-3)
        mirrored = render_view(IMAGE, box, 128, flip=True, truncate=False, beyond=True)
        np.testing.assert_array_equal(mirrored, view[:, ::-1])


@pytest.mark.parametrize(("levels_a_pixel", "pixels"), [(3, 9), (5, 11), (5, 6), (7, 9), (10, 11)])
@pytest.mark.parametrize("beyond", [True, False])
def test_whole_levels_survive_the_truncation(levels_a_pixel: int, pixels: int, beyond: bool) -> None:
    """An even slope, enlarged as many times as it has levels a pixel: 75 must not come out as 74.99999, so as 74."""
    slope = 60 + levels_a_pixel * np.arange(pixels)
    image = np.ascontiguousarray(np.broadcast_to(slope[:, None, None], (pixels, pixels, 3)).astype(np.uint8))
    size = levels_a_pixel * pixels
    twice = np.arange(1 - levels_a_pixel, 2 * size - levels_a_pixel, 2).clip(0, 2 * levels_a_pixel * (pixels - 1))
    expected = np.broadcast_to((60 + twice // 2)[:, None, None], (size, size, 3))
    for array, wanted in ((image, expected), (image.swapaxes(0, 1), expected.swapaxes(0, 1))):
        view = render_view(array, (0, 0, pixels, pixels), size, flip=False, truncate=True, beyond=beyond)
        np.testing.assert_array_equal(view, wanted)


@pytest.mark.parametrize(("file", "key"), JPEG)
def test_a_decoded_jpeg_is_tensorflow_s(file: str, key: str) -> None:
    """But for the decoders' own roundings: up to three levels."""
    found = decode({"bytes": GOLDEN[file][key].tobytes(), "path": None})
    for kind in ("default", "precise"):
        assert np.abs(found.astype(int) - GOLDEN[file][f"jpeg/{kind}"]).max() <= 3


def test_flip_mirrors_the_view_after_the_crop() -> None:
    box = (3, 5, 20, 31)
    plain, mirrored = (render_view(IMAGE, box, 16, flip, truncate=False) for flip in (False, True))
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    assert not np.array_equal(mirrored, plain)


def test_a_flat_image_keeps_its_level() -> None:
    image = np.full((37, 53, 3), 201, np.uint8)
    assert (render_view(image, (1, 2, 31, 47), 23, flip=False, truncate=True) == 201).all()
    assert (resize_small(image, 20) == 201).all()


@pytest.mark.parametrize(("file", "key"), SMALL)
def test_resize_small_equals_the_authors(file: str, key: str) -> None:
    image, target = GOLDEN[file][f"{key.partition('/')[0]}/image"], int(key.split("/small")[1].split("_")[0])
    found, expected = resize_small(image, target), GOLDEN[file][key].astype(np.float32)
    assert found.shape == expected.shape
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.03


@pytest.mark.parametrize(("file", "key"), CROPPED)
def test_evaluation_views_equal_the_authors(file: str, key: str) -> None:
    image = GOLDEN[file][f"{key.partition('/')[0]}/image"]
    resize, size = (int(part) for part in key.split("/small")[1].split("_crop"))
    view = evaluation_view(image, resize, size, size)
    assert view.dtype == np.float32
    difference = np.abs(view - (GOLDEN[file][key] + 1) * 127.5)
    assert difference.max() <= 1.001
    assert (difference > 0.01).mean() <= 0.03


def test_without_resize_an_image_of_the_views_size_stays_as_it_is() -> None:
    image = IMAGE[:16, :16]
    np.testing.assert_array_equal(evaluation_view(image, None, None, 16), image.astype(np.float32))


def test_without_resize_the_whole_image_is_brought_to_the_views_size() -> None:
    image = IMAGE
    whole = render_view(image, (0, 0, *image.shape[:2]), 16, flip=False, truncate=True)
    np.testing.assert_array_equal(evaluation_view(image, None, None, 16), whole)


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="64 px does not fit into 37x53"):
        evaluation_view(IMAGE, None, 64, 64)

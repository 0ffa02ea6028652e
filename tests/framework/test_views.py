"""Views against the authors' crops and mixtures (preprocess*.npz and mixup*.npz of tests/golden)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras import ops
from keras.src.applications.imagenet_utils import preprocess_input

from framework import views
from framework.data.hostviews import to_range
from framework.draws.views import central
from framework.spec import ViewsSpec
from tests.recorded import params, recordings

GOLDEN, MIXUP = recordings("preprocess"), recordings("mixup")
FILES = params([(file,) for file in GOLDEN])
CENTRAL = params([(file, key) for file, arrays in GOLDEN.items() for key in arrays.files if "_central" in key])
MIXED = params([(file, key) for file, arrays in MIXUP.items() for key in arrays.files if key.endswith("_mixed")])
SIZE = 16
IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
BOXES = np.array([[0, 0, 37, 53], [5, 7, 20, 31], [1, 2, 9, 11], [20, 30, 17, 23], [10, 0, 16, 16], [3, 9, 30, 12]])
IMAGES = np.repeat(IMAGE[None], len(BOXES), axis=0)


def recorded(file: str, kind: str) -> np.ndarray:
    return np.stack([GOLDEN[file][f"crop{i}/{kind}"] for i in range(len(GOLDEN[file]["boxes_yxhw"]))])


def shown(file: str, shift: float = 0.0, **options: Any) -> np.ndarray:
    """Our views of a file's crops."""
    boxes = GOLDEN[file]["boxes_yxhw"]
    images = np.repeat(GOLDEN[file]["image"][None], len(boxes), axis=0)
    return render(images, boxes + np.array([shift, 0, 0, 0]), size=int(GOLDEN[file]["size"]), **options)


def render(
    images: np.ndarray, boxes: np.ndarray, flip: float = 0.0, extra: Any = None, beyond: bool = False, **options: Any
) -> np.ndarray:
    spec = ViewsSpec(**{"size": SIZE, "truncate": False} | options)
    flips = np.full(len(boxes), flip, np.float32)
    extra = np.zeros((len(boxes), len(spec.augmentations), 8), np.float32) if extra is None else extra
    tensors = [ops.convert_to_tensor(each) for each in (images, boxes.astype(np.float32), flips, extra)]
    return np.array(ops.convert_to_numpy(views.render(*tensors, spec, "float32", beyond)))


def levels(view: np.ndarray) -> np.ndarray:
    return (view + 1) * 127.5


@pytest.mark.parametrize("file", FILES)
def test_crops_equal_the_authors(file: str) -> None:
    found = shown(file)
    assert found.dtype == np.float32
    np.testing.assert_allclose(levels(found), recorded(file, "float"), rtol=0, atol=1e-3)


@pytest.mark.parametrize("file", FILES)
def test_truncated_crops_equal_the_authors(file: str) -> None:
    found = shown(file, truncate=True)
    difference = np.abs(levels(found) - recorded(file, "uint8"))
    assert difference.max() < 1.001
    assert (difference > 0.001).mean() <= 0.005
    same = difference < 0.001
    np.testing.assert_allclose(found[same], recorded(file, "value_range")[same], rtol=0, atol=1e-6)


@pytest.mark.parametrize("file", FILES)
def test_the_comparison_can_fail(file: str) -> None:
    """Half a pixel, the antialiased resize: either is far outside the tolerance."""
    assert np.abs(levels(shown(file, 0.5)) - recorded(file, "float")).max() > 1
    if (GOLDEN[file]["boxes_yxhw"][:, 2:] > GOLDEN[file]["size"]).any():
        assert np.abs(recorded(file, "antialias_uint8").astype(int) - recorded(file, "uint8")).max() > 1


@pytest.mark.parametrize(("file", "key"), CENTRAL)
def test_central_crops_of_the_resized_image_equal_the_authors(file: str, key: str) -> None:
    image = GOLDEN[file][f"{key.partition('/')[0]}/image"]
    resize, size = map(int, re.search(r"resize(\d+)_central(\d+)", key).groups())  # type: ignore[union-attr]
    boxes = central(np.array([image.shape[:2]]), ViewsSpec(size=size, resize=resize))
    found = levels(render(image[None], boxes, beyond=True, size=size, truncate=True)[0])
    difference = np.abs(found - GOLDEN[file][key])
    assert difference.max() < 1.001
    assert (difference > 0.001).mean() <= 0.03


def test_a_window_of_the_resized_image() -> None:
    """Enlarged five times and then cropped: the window's outer samples lie between its edge and the pixel beyond."""
    image = IMAGE[None, :20, :20]
    resized = levels(render(image, np.array([[0, 0, 20, 20]]), size=100))
    for top, left in ((32, 47), (0, 60), (60, 0)):
        box = np.array([[top, left, 40, 40]]) / 5
        found, cut = (levels(render(image, box, size=40, beyond=beyond)) for beyond in (True, False))
        np.testing.assert_allclose(found, resized[:, top : top + 40, left : left + 40], rtol=0, atol=2e-3)
        assert np.abs(found - cut).max() > 1


def test_a_flip_mirrors_the_whole_view() -> None:
    np.testing.assert_allclose(render(IMAGES, BOXES, flip=1.0), render(IMAGES, BOXES)[:, :, ::-1], rtol=0, atol=2e-6)


def test_flips_are_each_view_s_own() -> None:
    spec = ViewsSpec(size=SIZE, truncate=False)
    flips, extra = np.array([0, 1, 0, 1, 1, 0], np.float32), np.zeros((6, 0, 8), np.float32)
    tensors = [ops.convert_to_tensor(each) for each in (IMAGES, BOXES, flips, extra)]
    mixed = np.array(ops.convert_to_numpy(views.render(*tensors, spec, "float32")))
    for one, flip, plain in zip(mixed, flips, render(IMAGES, BOXES), strict=True):
        np.testing.assert_allclose(one, plain[:, ::-1] if flip else plain, rtol=0, atol=2e-6)


def test_the_whole_image_at_its_own_size_is_untouched() -> None:
    image = IMAGE[None, :SIZE, :SIZE]
    for truncate in (True, False):
        view = render(image, np.array([[0, 0, SIZE, SIZE]]), truncate=truncate)
        np.testing.assert_allclose(levels(view), image, rtol=0, atol=1e-4)


def test_a_flat_image_keeps_its_level() -> None:
    """Interpolation weights that add up to a little less than one would lose a level in the truncation."""
    flat = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 24, 24, 3))
    lengths = np.random.default_rng(0).integers(5, 22, (256, 2))
    boxes = np.concatenate([np.tile([1, 2], (256, 1)), lengths], axis=1)
    np.testing.assert_allclose(levels(render(flat, boxes, truncate=True)), flat[:, :SIZE, :SIZE], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("levels_a_pixel", "pixels"), [(3, 9), (5, 11), (5, 6), (7, 9), (10, 11)])
@pytest.mark.parametrize("axis", [1, 2])
def test_whole_levels_survive_the_truncation(levels_a_pixel: int, pixels: int, axis: int) -> None:
    """An even slope, enlarged as many times as it has levels a pixel: 75 must not come out as 74.99999, so as 74."""
    slope = 60 + levels_a_pixel * np.arange(pixels)
    image = np.broadcast_to(slope[:, None, None], (pixels, pixels, 3)).astype(np.uint8)[None]
    size = levels_a_pixel * pixels
    twice = np.arange(1 - levels_a_pixel, 2 * size - levels_a_pixel, 2).clip(0, 2 * levels_a_pixel * (pixels - 1))
    expected = np.broadcast_to((60 + twice // 2)[:, None, None], (size, size, 3))[None]
    images, wanted = (image, expected) if axis == 1 else (image.swapaxes(1, 2), expected.swapaxes(1, 2))
    found = levels(render(images, np.array([[0, 0, pixels, pixels]]), size=size, truncate=True))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


def test_a_crop_of_one_pixel_is_that_pixel() -> None:
    view = levels(render(IMAGE[None], np.array([[7, 9, 1, 1]])))
    np.testing.assert_allclose(view, np.broadcast_to(IMAGE[7, 9], view.shape), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("file", "key"), MIXED)
def test_mixtures_equal_the_authors(file: str, key: str) -> None:
    golden, run = MIXUP[file], key.partition("/")[0]
    factor = ops.convert_to_tensor(golden[f"{run}/lam"])
    found = ops.convert_to_numpy(views.mix(ops.convert_to_tensor(golden[key.removesuffix("_mixed")]), factor))
    np.testing.assert_allclose(found, golden[key], rtol=0, atol=1e-6)


def test_the_factor_is_the_share_of_the_example_and_the_rest_of_the_one_before() -> None:
    found = views.mix(ops.convert_to_tensor(np.array([1.0, 10.0, 100.0], np.float32)), 0.75)
    np.testing.assert_allclose(ops.convert_to_numpy(found), [0.75 + 25, 7.5 + 0.25, 75 + 2.5])


@pytest.mark.parametrize(("name", "mode"), [("imagenet", "torch"), ("caffe", "caffe"), (None, "tf")])
def test_a_foreign_range_is_keras_s_own(name: str | None, mode: str) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    expected = preprocess_input(pixels.copy(), data_format="channels_last", mode=mode)
    found = ops.convert_to_numpy(views.normalize(ops.convert_to_tensor(pixels / 127.5 - 1), name))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 if name == "caffe" else 1e-5)


@pytest.mark.parametrize(("name", "mean", "deviation"), [("pixels", 0, 1), ("unit", 0, 255), ("lite", 127, 128)])
def test_the_range_of_pixels(name: str, mean: float, deviation: float) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    found = ops.convert_to_numpy(views.normalize(ops.convert_to_tensor(pixels / 127.5 - 1), name))
    np.testing.assert_allclose(found, (pixels - mean) / deviation, rtol=0, atol=1e-4 / deviation)


def test_the_unit_range() -> None:
    found = ops.convert_to_numpy(
        views.normalize(ops.convert_to_tensor(np.full((1, 1, 1, 3), -1.0, np.float32)), "unit")
    )
    assert not found.any()
    found = ops.convert_to_numpy(views.normalize(ops.convert_to_tensor(np.ones((1, 1, 1, 3), np.float32)), "unit"))
    assert (found == 1).all()


# Each augmentation in numpy, from views [B, S, S, 3] and uniform numbers [B, 8]: a new one has a row here.
WRITTEN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "brightness": lambda v, u: np.clip(v + (u[:, 0, None, None, None] - 0.5) * 0.8, -1, 1),
    "grayscale": lambda v, u: np.where(u[:, 0, None, None, None] < 0.2, v @ [[0.299], [0.587], [0.114]], v),
}


def uniforms(count: int, augmentations: int = 1) -> np.ndarray:
    return np.random.default_rng(3).random((count, augmentations, 8)).astype(np.float32)


def test_brightness_shifts_each_view_and_stays_in_range() -> None:
    extra, plain = uniforms(6), render(IMAGES, BOXES)
    found = render(IMAGES, BOXES, extra=extra, augmentations=("brightness",))
    shift = (extra[:, 0, 0] - 0.5) * 0.8
    np.testing.assert_allclose(found, np.clip(plain + shift[:, None, None, None], -1, 1), rtol=0, atol=1e-6)


def test_grayscale_takes_the_colour_of_a_fifth() -> None:
    extra = uniforms(6)
    extra[:, 0, 0] = [0.0, 0.19, 0.21, 0.5, 0.1, 0.99]
    found, plain = render(IMAGES, BOXES, extra=extra, augmentations=("grayscale",)), render(IMAGES, BOXES)
    gray = plain @ np.array([0.299, 0.587, 0.114], np.float32)
    for place, is_gray in enumerate([True, True, False, False, True, False]):
        expected = np.repeat(gray[place][..., None], 3, axis=-1) if is_gray else plain[place]
        np.testing.assert_allclose(found[place], expected, rtol=0, atol=1e-6)


def test_augmentations_follow_each_other_with_numbers_of_their_own() -> None:
    extra = uniforms(6, 2)
    extra[:, 1, 0] = 0
    found = render(IMAGES, BOXES, extra=extra, augmentations=("brightness", "grayscale"))
    brighter = render(IMAGES, BOXES, extra=extra[:, :1], augmentations=("brightness",))
    gray = brighter @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(found, np.repeat(gray[..., None], 3, axis=-1), rtol=0, atol=1e-6)


def test_an_augmentation_of_the_user_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_augmentations.py").write_text("def negative(views, uniforms):\n    return -views\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = render(IMAGES, BOXES, extra=uniforms(6), augmentations=("own_augmentations:negative",))
    np.testing.assert_array_equal(found, -render(IMAGES, BOXES))


def test_every_augmentation_is_compared() -> None:
    assert set(WRITTEN) == set(views.AUGMENTATIONS)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_augmentation_is_what_numpy_computes(name: str) -> None:
    extra = uniforms(6)
    extra[:2, 0] /= 10  # below what only some views are changed by
    found = render(IMAGES, BOXES, extra=extra, augmentations=(name,))
    np.testing.assert_allclose(found, WRITTEN[name](render(IMAGES, BOXES), extra[:, 0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", views.AUGMENTATIONS)
def test_augmentations_keep_shape_dtype_and_range(name: str) -> None:
    found = render(IMAGES, BOXES, extra=uniforms(6), augmentations=(name,))
    assert found.shape == (6, SIZE, SIZE, 3)
    assert found.dtype == np.float32
    assert np.abs(found).max() <= 1.0001


def test_whole_levels_become_what_the_host_makes_of_them() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for function in (views.of_levels, views.of_levels.default):
        found = np.array(ops.convert_to_numpy(function(ops.convert_to_tensor(levels), "float32")))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, to_range(levels.astype(np.float32)))

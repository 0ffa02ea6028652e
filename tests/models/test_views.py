"""Views against the authors' crops and mixtures (tests/golden/preprocess.npz, mixup.npz)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras import ops
from keras.src.applications.imagenet_utils import preprocess_input

from framework import views
from framework.spec import ViewsSpec

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN, MIXUP = np.load(FOLDER / "preprocess.npz"), np.load(FOLDER / "mixup.npz")
IMAGE, BOXES, SIZE = GOLDEN["image"], GOLDEN["boxes_yxhw"].astype(np.float32), int(GOLDEN["size"])


def recorded(kind: str) -> np.ndarray:
    return np.stack([GOLDEN[f"crop{i}/{kind}"] for i in range(len(BOXES))])


def render(images: np.ndarray, boxes: np.ndarray, flip: float = 0.0, extra: Any = None, **options: Any) -> np.ndarray:
    spec = ViewsSpec(**{"size": SIZE, "truncate": False} | options)
    flips = np.full(len(boxes), flip, np.float32)
    extra = np.zeros((len(boxes), len(spec.augmentations), 8), np.float32) if extra is None else extra
    tensors = [ops.convert_to_tensor(each) for each in (images, boxes.astype(np.float32), flips, extra)]
    return np.array(ops.convert_to_numpy(views.render(*tensors, spec, "float32")))


def levels(view: np.ndarray) -> np.ndarray:
    return (view + 1) * 127.5


IMAGES = np.repeat(IMAGE[None], len(BOXES), axis=0)


def test_crops_equal_the_authors() -> None:
    found = render(IMAGES, BOXES)
    assert found.shape == (6, SIZE, SIZE, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(levels(found), recorded("float"), rtol=0, atol=1e-3)


def test_truncated_crops_equal_the_authors() -> None:
    found = render(IMAGES, BOXES, truncate=True)
    difference = np.abs(levels(found) - recorded("uint8"))
    assert difference.max() < 1.001
    assert (difference > 0.001).mean() <= 0.005
    same = difference < 0.001
    np.testing.assert_allclose(found[same], recorded("value_range")[same], rtol=0, atol=1e-6)


def test_the_comparison_can_fail() -> None:
    """Half a pixel, the antialiased resize: either is far outside the tolerance."""
    assert np.abs(levels(render(IMAGES, BOXES + np.array([0.5, 0, 0, 0]))) - recorded("float")).max() > 1
    assert np.abs(recorded("antialias_uint8") - recorded("uint8").astype(int)).max() > 1


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


def test_a_crop_of_one_pixel_is_that_pixel() -> None:
    view = levels(render(IMAGE[None], np.array([[7, 9, 1, 1]])))
    np.testing.assert_allclose(view, np.broadcast_to(IMAGE[7, 9], view.shape), rtol=0, atol=1e-3)


@pytest.mark.parametrize("run", ["p1", "p1b", "p1c", "p02", "p05"])
@pytest.mark.parametrize("what", ["image", "teacher", "labels"])
def test_mixtures_equal_the_authors(run: str, what: str) -> None:
    factor = ops.convert_to_tensor(MIXUP[f"{run}/lam"])
    found = ops.convert_to_numpy(views.mix(ops.convert_to_tensor(MIXUP[f"{run}/{what}"]), factor))
    np.testing.assert_allclose(found, MIXUP[f"{run}/{what}_mixed"], rtol=0, atol=1e-6)


def test_the_factor_is_the_share_of_the_example_and_the_rest_of_the_one_before() -> None:
    found = views.mix(ops.convert_to_tensor(np.array([1.0, 10.0, 100.0], np.float32)), 0.75)
    np.testing.assert_allclose(ops.convert_to_numpy(found), [0.75 + 25, 7.5 + 0.25, 75 + 2.5])


@pytest.mark.parametrize(("name", "mode"), [("imagenet", "torch"), ("caffe", "caffe"), (None, "tf")])
def test_a_foreign_range_is_keras_s_own(name: str | None, mode: str) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    expected = preprocess_input(pixels.copy(), data_format="channels_last", mode=mode)
    found = ops.convert_to_numpy(views.normalize(ops.convert_to_tensor(pixels / 127.5 - 1), name))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 if name == "caffe" else 1e-5)


def test_the_range_of_pixels() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    found = ops.convert_to_numpy(views.normalize(ops.convert_to_tensor(pixels / 127.5 - 1), "pixels"))
    np.testing.assert_allclose(found, pixels, atol=1e-4)


def test_the_unit_range() -> None:
    found = ops.convert_to_numpy(
        views.normalize(ops.convert_to_tensor(np.full((1, 1, 1, 3), -1.0, np.float32)), "unit")
    )
    assert not found.any()
    found = ops.convert_to_numpy(views.normalize(ops.convert_to_tensor(np.ones((1, 1, 1, 3), np.float32)), "unit"))
    assert (found == 1).all()


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


@pytest.mark.parametrize("name", views.AUGMENTATIONS)
def test_augmentations_keep_shape_dtype_and_range(name: str) -> None:
    found = render(IMAGES, BOXES, extra=uniforms(6), augmentations=(name,))
    assert found.shape == (6, SIZE, SIZE, 3)
    assert found.dtype == np.float32
    assert np.abs(found).max() <= 1.0001

"""Views on the host against recorded outputs of the authors' pipeline (tests/golden/preprocess.npz)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from framework.data.hostviews import evaluation_view, render_view, resize_small

FOLDER = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[2] / "golden"))
GOLDEN = np.load(FOLDER / "preprocess.npz")
BOXES = range(len(GOLDEN["boxes_yxhw"]))
SMALL = sorted(key for key in GOLDEN.files if key.endswith("_uint8") and "/small" in key)
CROPPED = sorted(key for key in GOLDEN.files if "_crop" in key)


@pytest.mark.parametrize("number", BOXES)
def test_crops_equal_the_authors_resize(number: int) -> None:
    view = render_view(GOLDEN["image"], GOLDEN["boxes_yxhw"][number], int(GOLDEN["size"]), flip=False, truncate=False)
    assert view.dtype == np.float32
    np.testing.assert_allclose(view, GOLDEN[f"crop{number}/float"], atol=0.002)


@pytest.mark.parametrize("number", BOXES)
def test_truncated_crops_equal_the_authors_uint8(number: int) -> None:
    view = render_view(GOLDEN["image"], GOLDEN["boxes_yxhw"][number], int(GOLDEN["size"]), flip=False, truncate=True)
    difference = np.abs(view - GOLDEN[f"crop{number}/uint8"].astype(np.float32))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.005  # a level falls to either side where a value is whole but for rounding


def test_flip_mirrors_the_view_after_the_crop() -> None:
    box = (3, 5, 20, 31)
    plain, mirrored = (render_view(GOLDEN["image"], box, 16, flip, truncate=False) for flip in (False, True))
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    assert not np.array_equal(mirrored, plain)


def test_a_flat_image_keeps_its_level() -> None:
    image = np.full((37, 53, 3), 201, np.uint8)
    assert (render_view(image, (1, 2, 31, 47), 23, flip=False, truncate=True) == 201).all()
    assert (resize_small(image, 20) == 201).all()


@pytest.mark.parametrize("key", SMALL)
def test_resize_small_equals_the_authors(key: str) -> None:
    image, target = GOLDEN[f"{key.split('/')[0]}/image"], int(key.split("/small")[1].split("_")[0])
    found, expected = resize_small(image, target), GOLDEN[key].astype(np.float32)
    assert found.shape == expected.shape
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.03


@pytest.mark.parametrize("key", CROPPED)
def test_evaluation_views_equal_the_authors(key: str) -> None:
    image = GOLDEN[f"{key.split('/')[0]}/image"]
    resize, crop = (int(part) for part in key.split("/small")[1].split("_crop"))
    view = evaluation_view(image, resize, crop, crop)
    assert view.dtype == np.float32
    difference = np.abs(view - (GOLDEN[key] + 1) * 127.5)
    assert difference.max() <= 1.001
    assert (difference > 0.01).mean() <= 0.03


def test_without_resize_an_image_of_the_views_size_stays_as_it_is() -> None:
    image = GOLDEN["image"][:16, :16]
    np.testing.assert_array_equal(evaluation_view(image, None, None, 16), image.astype(np.float32))


def test_without_resize_the_whole_image_is_brought_to_the_views_size() -> None:
    image = GOLDEN["image"]
    whole = render_view(image, (0, 0, *image.shape[:2]), 16, flip=False, truncate=True)
    np.testing.assert_array_equal(evaluation_view(image, None, None, 16), whole)


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="64 px does not fit into 37x53"):
        evaluation_view(GOLDEN["image"], None, 64, 64)

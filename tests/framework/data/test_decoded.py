"""Decoded once, in both forms; bad images are errors with their place, or replaced by a fixed neighbour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from framework.data import Splits
from framework.data.decoded import replacements
from framework.errors import UserError

Read = Callable[..., Splits]
Paint = Callable[..., np.ndarray]
WHOLE, ON_DEMAND = 2**30, 0


@pytest.fixture
def rows_with(write_parquet: Callable[..., Path], encode: Callable[..., bytes], paint: Paint) -> Callable[..., Path]:
    """A file of so many rows of three classes, some of them bad."""

    def write(bad: dict[int, object], count: int) -> Path:
        images: list = [{"bytes": encode(paint(i)), "path": None} for i in range(count)]
        for row, content in bad.items():
            images[row] = content if content is None else {"bytes": content, "path": None}
        return write_parquet({"image": images, "label": [i % 3 for i in range(count)]}, f"{count}.parquet")

    return write


@pytest.fixture
def truncated(encode: Callable[..., bytes], paint: Paint) -> bytes:
    content = encode(paint(9, 32, 32), "JPEG")
    return content[: len(content) // 2]


@pytest.mark.parametrize("limit", [WHOLE, ON_DEMAND])
def test_varied_sizes(limit: int, write_images: Callable[..., Path], read: Read, paint: Paint) -> None:
    shapes = [(4, 6), (9, 3), (5, 5), (1, 8)]
    folder = write_images({f"a/{i}.png": paint(i, *shape) for i, shape in enumerate(shapes)})
    source = read(folder, limit, labels=None).train
    ids = np.array([3, 0, 0, 2])
    assert source.uniform is None
    assert source.sizes(ids).tolist() == [[1, 8], [4, 6], [4, 6], [5, 5]]
    assert source.sizes(ids).dtype == np.int32
    for image, number in zip(source.images(ids), ids, strict=True):
        np.testing.assert_array_equal(image, paint(number, *shapes[number]))


def test_one_size_gives_one_array_in_both_forms(two_classes: Path, read: Read) -> None:
    whole, on_demand = (read(two_classes, limit, validation=None).train for limit in (WHOLE, ON_DEMAND))
    ids = np.array([19, 3, 3, 0])
    assert whole.uniform == on_demand.uniform == (6, 6)
    assert np.asarray(whole.images(ids)).shape == (4, 6, 6, 3)
    np.testing.assert_array_equal(whole.images(ids), on_demand.images(ids))
    assert whole.labels(ids).tolist() == [1, 0, 0, 0]  # type: ignore[union-attr]
    assert whole.labels(ids).dtype == np.int32  # type: ignore[union-attr]


def test_a_changed_image_is_decoded_again(
    two_classes: Path, read: Read, encode: Callable[..., bytes], paint: Paint
) -> None:
    before = read(two_classes, validation=None)
    assert read(two_classes, validation=None).fingerprint == before.fingerprint
    (two_classes / "cat" / "0.png").write_bytes(encode(paint(999)))
    after = read(two_classes, validation=None)
    assert after.fingerprint != before.fingerprint
    assert any((image == paint(999)).all() for image in after.train.images(np.arange(20)))


def test_the_second_load_reads_no_image(two_classes: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(two_classes, validation=None).train.images(np.arange(20))
    monkeypatch.setattr("framework.data.decoded.decode", None)
    monkeypatch.setattr("framework.data.bad.size_of", None)
    np.testing.assert_array_equal(read(two_classes, validation=None).train.images(np.arange(20)), before)


@pytest.mark.parametrize("limit", [WHOLE, ON_DEMAND])
def test_a_truncated_image_names_split_row_and_column(
    limit: int, truncated: bytes, rows_with: Callable[..., Path], read: Read
) -> None:
    file = rows_with({4: truncated}, 9)
    with pytest.raises(
        UserError, match=r"split 'train', row 4, column 'image': .*([Tt]runcated|broken).*on_bad_image=skip"
    ):
        # On demand nothing but the header is read before the image is asked for.
        read(file, limit, train="train[2:]").train.images(np.array([0, 2]))


@pytest.mark.parametrize("content", [None, b"nothing", b""])
def test_a_missing_or_broken_image_is_found_at_once(
    content: bytes | None, rows_with: Callable[..., Path], read: Read
) -> None:
    file = rows_with({1: content, 7: content}, 9)
    with pytest.raises(UserError, match=r"row 1, column 'image': (there is no image|not an image).*1 more bad image"):
        read(file, ON_DEMAND)


def test_a_broken_file_is_named(two_classes: Path, read: Read) -> None:
    (two_classes / "dog" / "3.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"row 13, column 'image': not an image \(file .*dog/3\.png\)"):
        read(two_classes)


@pytest.mark.parametrize("limit", [WHOLE, ON_DEMAND])
def test_skip_takes_the_next_good_image_with_its_label(
    limit: int, truncated: bytes, rows_with: Callable[..., Path], read: Read, paint: Paint
) -> None:
    splits = read(rows_with({8: truncated}, 9), limit, on_bad_image="skip")
    images, ids = splits.train.images(np.array([8, 7])), np.arange(9)
    np.testing.assert_array_equal(images, [paint(0), paint(7)])
    assert splits.train.labels(ids).tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0]  # type: ignore[union-attr]
    assert splits.train.sizes(ids).tolist() == [[6, 6]] * 9
    assert any("a neighbour stands in for 1 bad image" in note for note in splits.notes)


def test_skip_stops_above_one_in_a_thousand(
    truncated: bytes, rows_with: Callable[..., Path], read: Read, paint: Paint
) -> None:
    source = read(rows_with({5: truncated, 6: None}, 2000), on_bad_image="skip", validation=None).train
    np.testing.assert_array_equal(source.images(np.array([5, 6])), [paint(7), paint(7)])
    for count, bad in ((1999, 2), (9, 2), (1, 1)):
        file = rows_with(dict.fromkeys(range(bad), truncated), count)
        with pytest.raises(
            UserError, match=rf"{bad} of {count} images are bad, more than the {min(1, count - 1)} allowed.*row 0"
        ):
            read(file, on_bad_image="skip", validation=None, labels=None)


def test_replacements_go_round() -> None:
    is_bad = np.array([True, False, True, True, False, True])
    assert replacements(is_bad).tolist() == [1, 1, 4, 4, 4, 1]
    assert replacements(np.zeros(3, bool)).tolist() == [0, 1, 2]


def test_a_bomb_is_refused(
    write_images: Callable[..., Path], read: Read, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    folder = write_images({"a/0.png": paint(0, 20, 20)})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.raises(UserError, match=r"row 0.*20x20 pixels are more than PIL's limit of 300"):
        read(folder, labels=None)


def test_a_cache_that_cant_be_made(two_classes: Path, tmp_path: Path) -> None:
    from framework.data import load
    from framework.spec import DataSpec

    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache folder .* can't be"):
        load(DataSpec(name=str(two_classes)), tmp_path / "file" / "cache")

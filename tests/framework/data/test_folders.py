"""Image folders as people have them: nothing becomes a class, is merged or is left out without a word."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from framework.errors import UserError
from tests.framework.data.folders import OWN, Paint, Read, Write, labels, several


def test_a_flat_test_split_is_no_class(write: Write, read: Read) -> None:
    folder = write(*several("train/cat", "train/dog", "test"))
    splits = read(folder)
    assert (splits.classes, splits.test) == (("cat", "dog"), None)
    assert any("3 images of 'test' lie in no class folders and are left out" in note for note in splits.notes)
    with pytest.raises(UserError, match=r"split 'test': no label column"):
        read(folder, test="test[:50%]")
    assert read(folder, labels=None).test.num_examples == 3  # type: ignore[union-attr]


def test_a_flat_validation_split_is_no_class(write: Write, read: Read) -> None:
    folder = write(*several("train/cat", "train/dog", count=10), *several("val"))
    splits = read(folder)
    assert (splits.classes, splits.train.num_examples) == (("cat", "dog"), 18)
    assert sorted(labels(splits, "validation")) == [0, 1]
    assert any("images of 'validation' lie in no class folders" in note for note in splits.notes)


def test_one_folder_below_each_class_belongs_to_it(write: Write, read: Read) -> None:
    splits = read(write(*several("train/n01/images", "train/n02/images")))
    assert (splits.classes, labels(splits)) == (("n01", "n02"), [0, 0, 0, 1, 1, 1])


def test_links_are_followed(write: Write, read: Read, tmp_path: Path) -> None:
    write(*several("cat", "dog"), folder="store")
    folder = write(*several("cat"), folder="half")
    (folder / "dog").symlink_to(tmp_path / "store" / "dog")
    (folder / "cat" / "again").symlink_to(folder)
    (folder / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    splits = read(folder, **OWN)
    assert (splits.classes, splits.train.num_examples) == (("cat", "dog"), 6)
    assert "left out: 1 link that leads nowhere, 1 link to a folder above" in splits.notes[0]


def test_what_is_left_out_is_told(write: Write, read: Read) -> None:
    odd = ("cat/a.heic", "cat/b.heic", "cat/c", ".DS_Store", "cat/._0.png", "__MACOSX/cat/0.png", "notes/read.txt")
    splits = read(write(*several("cat", "dog", "__unknown__"), "dog/x.JPG", "dog/y.TiFF", *odd), **OWN)
    assert splits.classes == ("__unknown__", "cat", "dog")
    assert splits.notes == (
        f"data {splits.name}: 11 images to train, 3 classes: __unknown__, cat, dog; 3 to 5 training images a class; "
        "left out: 3 hidden, 2 .heic, 1 .txt, 1 folder without images ('notes'), 1 without a suffix",
    )


def test_a_split_that_is_a_file(write: Write, read: Read) -> None:
    splits = read(write(*several("train/cat", "train/dog"), "test"))
    assert splits.test is None
    assert "1 without a suffix" in splits.notes[0]
    assert any("no split test" in note for note in splits.notes)


@pytest.mark.parametrize("folder", ["a::b", "my photos", "50% [of] them?"])
def test_odd_paths(folder: str, write: Write, read: Read, write_parquet: Callable[..., Path], paint: Paint) -> None:
    found = write(*several("cat", "dog"), folder=folder)
    assert read(found, **OWN).train.num_examples == 6
    file = write_parquet(
        {"image": [found.joinpath("cat/0.png").read_bytes()] * 2, "label": [0, 1]}, f"{folder}/x.parquet"
    )
    np.testing.assert_array_equal(read(file, **OWN).train.images(np.array([1]))[0], paint(0))


def test_an_unlabelled_folder_may_have_any_depth(write: Write, read: Read) -> None:
    assert read(write("0.png", "a/1.png", "a/b/2.png"), labels=None).train.num_examples == 3


REFUSED: dict[str, tuple[list[str], str]] = {
    "letters above classes": (
        several("a/abbey", "b/bistro/indoor", "b/bistro/outdoor"),
        r"at several depths \('a/abbey', 'b/bistro/indoor'\)",
    ),
    "folders in classes": (
        several("b/bistro", "b/beer_hall", "c/church"),
        r"may be classes|\('b/beer_hall', 'b/bistro'\)",
    ),
    "images beside a class's folders": (several("cat", "cat/more", "dog"), r"several depths \('cat', 'cat/more'\)"),
    "images beside the classes": (
        ["0.png", *several("cat", "dog")],
        r"1 image lies beside the class folders \('0.png'\)",
    ),
    "seg_train and seg_test": (
        several("seg_train/seg_train/a", "seg_test/seg_test/a"),
        r"'seg_train', 'seg_test' look like splits.*data=.*/seg_train",
    ),
    "test images": (several("cat", "dog", "test_images"), r"'test_images' look like splits"),
    "TestSet": (several("cat", "dog", "TestSet"), r"'TestSet' look like splits"),
    "test beside classes": (
        several("cat", "dog", "test"),
        r"'test' is named like a split, and 'cat', 'dog' beside it",
    ),
    "val beside classes": (several("cat", "dog", "Val"), r"'Val' is named like a split"),
    "a class called train": (several("car", "plane", "train"), r"'train' is named like a split, and 'car', 'plane'"),
    "test in train": (several("train/cat", "train/test"), r"a class is called 'test', like a split"),
    "one folder too high": (several("a/train/cat", "b/test/cat"), r"'a' has a split folder in it.*data=.*/a"),
    "the folder in itself": (
        several("pictures/cat", "pictures/dog"),
        r"a class is called 'pictures', like the data folder",
    ),
    "one folder above the classes": (several("mine/cat", "mine/dog"), r"one class only, 'mine'; give .*data=.*/mine"),
    "one class": (several("cat"), r"one class only, 'cat'"),
    "two names of one split": (several("train/a", "train/b", "val/a", "valid/b"), r"'val' and 'valid' both mean"),
    "a class of unread images": (
        [*several("cat", "dog"), "cow/0.heic"],
        r"'cow' has no image that can be read, only \.heic",
    ),
    "a test class that training lacks": (
        several("train/a", "train/b", "test/a", "test/c"),
        r"label 'c' is not a training class",
    ),
    "a word among numbers": (several("train/0", "train/1", "test/0", "test/x"), r"label 'x' is not a training class"),
    "no image but others": (["cat/0.heic"], r"no images in this folder \(1 \.heic\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_ambiguous_is_refused(kind: str, write: Write, read: Read) -> None:
    paths, message = REFUSED[kind]
    with pytest.raises(UserError, match=message):
        read(write(*paths))


def test_an_empty_class_folder(write: Write, read: Read) -> None:
    folder = write(*several("cat", "dog"))
    (folder / "cow").mkdir()
    with pytest.raises(UserError, match=r"the class folder 'cow' is empty"):
        read(folder)


def test_a_class_may_have_a_split_s_word_in_its_name(write: Write, read: Read) -> None:
    assert read(write(*several("bullet_train", "test_tube")), **OWN).classes == ("bullet_train", "test_tube")


def test_a_split_that_can_t_be_trusted_may_be_left_out(write: Write, read: Read) -> None:
    folder = write(*several("train/cat", "train/dog", "val/cat/x", "val/cat/y"))
    with pytest.raises(UserError, match=r"one class only, 'cat'.*data\.validation=none leaves the split out"):
        read(folder)
    assert read(folder, validation=None).train.num_examples == 6


@pytest.mark.parametrize("limit", [2**30, 0])
def test_other_bytes_with_the_old_time_are_read(
    limit: int, write: Write, read: Read, encode: Callable[..., bytes], paint: Paint
) -> None:
    folder = write(*several("cat", "dog"))
    image = folder / "cat" / "0.png"
    os.utime(image, (1, 1))
    before = read(folder, limit, **OWN)
    image.write_bytes(encode(paint(999)))
    os.utime(image, (1, 1))
    after = read(folder, limit, **OWN)
    assert after.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.train.images(np.array([0]))[0], paint(999))


def test_a_table_with_the_old_time_is_read(
    write_parquet: Callable[..., Path], read: Read, encode: Callable[..., bytes], paint: Paint
) -> None:
    for number in (5, 6):
        file = write_parquet({"image": [encode(paint(number)), encode(paint(8))], "label": [0, 1]})
        os.utime(file, (1, 1))
        np.testing.assert_array_equal(read(file, **OWN).train.images(np.array([0]))[0], paint(number))


def test_an_image_that_changes_while_it_is_used(
    write: Write, read: Read, encode: Callable[..., bytes], paint: Paint
) -> None:
    folder = write(*several("cat", "dog"))
    source = read(folder, 0, **OWN).train
    (folder / "cat" / "1.png").write_bytes(encode(paint(1, 9, 4)))
    with pytest.raises(UserError, match=r"row 1.*it has 4x9 pixels, and had 6x6 when it was measured"):
        source.images(np.array([1]))[0]

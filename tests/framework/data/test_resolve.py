"""Folders, their splits and their labels: what is found, and every mistake is a message that says what there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from framework.data import check_classes
from framework.data.roles import ROLES
from framework.errors import UserError
from tests.framework.data.folders import Read, labels_of

# Image folders


def test_a_folder_of_classes_is_a_training_split(
    two_classes: Path, read: Read, paint: Callable[..., np.ndarray]
) -> None:
    splits = read(two_classes, validation=None)
    assert splits.classes == ("cat", "dog")
    assert (splits.validation, splits.test) == (None, None)
    assert splits.notes == (
        f"data {two_classes}: 20 images to train, 2 classes: cat, dog; 10 training images a class",
        f"{two_classes} has no split test: it has train; hold some images out for it with 'data.train=train[:80%]' "
        "'data.test=train[80%:]'",
    )
    images = {
        image.tobytes(): label
        for image, label in zip(splits.train.images(np.arange(20)), labels_of(splits.train), strict=True)
    }
    assert images == {paint(100 * kind + i).tobytes(): kind for kind in (0, 1) for i in range(10)}


def test_the_notes_own_hint_works(two_classes: Path, read: Read) -> None:
    splits = read(two_classes, train="train[:80%]", test="train[80%:]")
    assert sorted(labels_of(splits.test)) == [0, 0, 1, 1]
    assert (splits.train.num_examples, splits.validation.num_examples) == (14, 2)  # type: ignore[union-attr]
    assert not any("too" in note for note in splits.notes)


def test_split_folders_go_by_the_names_people_use(
    write_images: Callable[..., Path], read: Read, paint: Callable[..., np.ndarray]
) -> None:
    files = {
        f"{split}/{kind}/{i}.png": paint(i)
        for split in ("train", "val", "testing", "extra")
        for kind in "ab"
        for i in range(2)
    }
    folder = write_images(files)
    splits = read(folder, test="test + extra")
    assert [source.num_examples for source in (splits.train, splits.validation, splits.test)] == [4, 4, 8]  # type: ignore[union-attr]
    assert splits.classes == ("a", "b")
    # The same two pictures are in every folder.
    assert splits.notes == (
        f"data {folder}: 4 images to train, 4 to validate, 8 to test, 2 classes: a, b; 2 training images a class",
        f"{folder}: 4 images of validation are in train too, pixel for pixel",
        f"{folder}: 8 images of test are in train too, pixel for pixel",
        *(f"{folder}: 2 images of {role} are in two classes, pixel for pixel: for example 'a', 'b'" for role in ROLES),
    )


def test_file_names_are_no_splits(
    write_images: Callable[..., Path], read: Read, paint: Callable[..., np.ndarray]
) -> None:
    splits = read(write_images({"cat/test_1.png": paint(1), "cat/train_1.png": paint(2), "dog/val_1.png": paint(3)}))
    assert splits.train.num_examples == 3


def test_a_path_with_brackets_is_a_path(
    write_images: Callable[..., Path], read: Read, paint: Callable[..., np.ndarray]
) -> None:
    folder = write_images({"train/a/0.png": paint(0), "train/b/0.png": paint(1)}, "odd [1] {x}")
    assert read(folder).train.num_examples == 2


def test_images_without_labels(write_images: Callable[..., Path], read: Read, paint: Callable[..., np.ndarray]) -> None:
    folder = write_images({"train/0.png": paint(0), "test/1.png": paint(1)})
    with pytest.raises(UserError, match=r"no label column.*among image \(Image\); .*data\.labels=null"):
        read(folder)
    splits = read(folder, labels=None)
    assert splits.classes is None
    assert splits.train.labels(np.arange(1)) is None
    assert splits.test is not None
    check_classes(77, splits)


def test_a_missing_folder(read: Read, tmp_path: Path) -> None:
    for name in (
        "./missing",
        tmp_path / "nowhere",
        "some/deep/path",
        "nowhere.parquet",
        "~/nowhere-at-all",
        "x*.parquet",
    ):
        with pytest.raises(UserError, match=r"no such folder or file .*a folder of images"):
            read(name)


def test_a_folder_without_images(tmp_path: Path, read: Read) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images in this folder"):
        read(tmp_path / "empty")


# Splits


def test_a_wrong_split_lists_what_there_is(two_classes: Path, read: Read) -> None:
    for options in ({"test": "tset"}, {"validation": "val"}, {"train": "training+upstream"}):
        with pytest.raises(
            UserError, match=r"has no split '(tset|val|training)' \(data\.\w+\): it has train \(20 rows\)"
        ):
            read(two_classes, **options)


def test_a_set_without_a_training_split_says_what_to_write(
    write_images: Callable[..., Path], read: Read, paint: Callable[..., np.ndarray]
) -> None:
    folder = write_images({f"test/{kind}/{i}.png": paint(i) for kind in "ab" for i in range(5)})
    with pytest.raises(UserError, match=r"no split 'train'.*'data\.train=test\[:80%\]'"):
        read(folder)
    assert read(folder, train="test[:80%]", test="test[80%:]").train.num_examples == 8


def test_splits_may_be_left_out(two_classes: Path, read: Read) -> None:
    assert len(read(two_classes, validation=None, test=None).notes) == 1


def test_slices_are_checked(two_classes: Path, read: Read) -> None:
    assert read(two_classes, train="train[:12]", validation=None).train.num_examples == 12
    with pytest.raises(UserError, match="asks for 5000 of 20 rows"):
        read(two_classes, train="train[:5000]")
    with pytest.raises(UserError, match="is empty"):
        read(two_classes, test="train[:1%]")


def test_an_empty_split(tmp_path: Path, write_parquet: Callable[..., Path], read: Read) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    empty: dict[str, list] = {"image": [], "label": []}
    DatasetDict({"train": Dataset.from_dict(empty, features)}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="a split is empty"):
        read(tmp_path / "saved")
    with pytest.raises(UserError, match="a split is empty"):
        read(write_parquet(empty, features=features))


def test_shared_rows_are_noted(two_classes: Path, read: Read) -> None:
    notes = read(two_classes, train="train[:15]", validation=None, test="train[12:]").notes
    assert [note for note in notes if "3 rows of test are in train too" in note]


# Labels


def test_labels_out_of_range_name_their_row(tmp_path: Path, read: Read, encoded_rows: Callable[..., list]) -> None:
    from datasets import Dataset, DatasetDict

    train = Dataset.from_dict({"image": encoded_rows(3), "label": [0, 1, 2]})
    test = Dataset.from_dict({"image": encoded_rows(3), "label": [0, 3, 1]})
    DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"split 'test', column 'label', row 1: label 3 is not in \[0, 3\)"):
        read(tmp_path / "saved")
    with pytest.raises(UserError, match=r"row 1: label 3"):
        read(tmp_path / "saved", test="test[1:]")


def test_words_unknown_to_training_name_their_row(
    tmp_path: Path, read: Read, encoded_rows: Callable[..., list]
) -> None:
    from datasets import Dataset, DatasetDict

    train = Dataset.from_dict({"image": encoded_rows(2), "label": ["cat", "dog"]})
    test = Dataset.from_dict({"image": encoded_rows(2), "label": ["cat", "dogs"]})
    DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"row 1: label 'dogs' is not a training class: did you mean 'dog'"):
        read(tmp_path / "saved")


def test_splits_with_other_classes(tmp_path: Path, read: Read, encoded_rows: Callable[..., list]) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

    def part(names: list[str]) -> Dataset:
        return Dataset.from_dict(
            {"image": encoded_rows(2), "label": [0, 1]}, Features({"image": Image(), "label": ClassLabel(names=names)})
        )

    DatasetDict({"train": part(["a", "b"]), "test": part(["b", "a"])}).save_to_disk(tmp_path / "turned")
    with pytest.raises(UserError, match=r"split 'test'.*not those of .*split 'train'.*in another order"):
        read(tmp_path / "turned")


def test_missing_labels_are_minus_one(
    write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list]
) -> None:
    assert labels_of(read(write_parquet({"image": encoded_rows(4), "label": [1, -1, None, 0]})).train) == [1, -1, -1, 0]
    with pytest.raises(UserError, match=r"no row has a label; data\.labels=null"):
        read(write_parquet({"image": encoded_rows(2), "label": [-1, -1]}, "none.parquet"))


@pytest.mark.parametrize("values", [[0.5, 1.0], [[0], [1]]])
def test_labels_of_other_kinds(
    values: list, write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list]
) -> None:
    with pytest.raises(UserError, match=r"row 0: label .* is neither a class number nor a name"):
        read(write_parquet({"image": encoded_rows(2), "label": values}))


def test_a_teacher_of_other_classes(two_classes: Path, read: Read) -> None:
    splits = read(two_classes)
    check_classes(2, splits)
    with pytest.raises(UserError, match=r"the teacher has 10 outputs, but data .* have 2 classes"):
        check_classes(10, splits)

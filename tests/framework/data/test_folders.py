"""Image folders as people have them: nothing becomes a class, is merged or is left out without a word."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.data import Splits
from framework.errors import UserError

Read = Callable[..., Splits]
Paint = Callable[..., np.ndarray]
Write = Callable[..., Path]
OWN = {"validation": None, "test": None}


@pytest.fixture
def write(write_images: Write, paint: Paint) -> Callable[..., Path]:
    """Write a picture for each path, no two alike; other suffixes than .png hold a PNG too."""

    def made(*paths: str, folder: str = "pictures") -> Path:
        return write_images({path: paint(number) for number, path in enumerate(paths)}, folder)

    return made


def labels(splits: Splits, role: str = "train") -> list[int]:
    source = getattr(splits, role)
    found: list[int] = source.labels(np.arange(source.num_examples)).tolist()
    return found


def several(*folders: str, count: int = 3) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


# What is read


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


# What is refused

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


# Changed files


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


# Rows and labels


def folder_of(write: Write, counts: Mapping[str, int]) -> Path:
    return write(*(f"{kind}/{number:03d}.png" for kind, count in counts.items() for number in range(count)))


def test_percent_slices_of_sorted_classes_have_all_of_them(write: Write, read: Read) -> None:
    folder = folder_of(write, dict.fromkeys("abcde", 10))
    splits = read(folder, train="train[:80%]", validation="train[80%:90%]", test="train[90%:]")
    for role, each in (("train", 8), ("validation", 1), ("test", 1)):
        assert np.bincount(labels(splits, role)).tolist() == [each] * 5
    assert len(splits.notes) == 1
    unlabelled = read(folder, train="train[:20%]", labels=None, **OWN).train
    labelled = read(folder, train="train[:20%]", **OWN).train
    np.testing.assert_array_equal(unlabelled.images(np.arange(10)), labelled.images(np.arange(10)))


def test_plain_slices_lack_classes_and_say_so(write: Write, read: Read) -> None:
    folder = folder_of(write, dict.fromkeys("abcde", 10))
    options = {"train": "plain(train)[:80%]", "validation": None, "test": "plain(train)[80%:]"}
    with pytest.raises(UserError, match=r"no training image of 'e' \(but 10 in test\); data\.missing_classes=allow"):
        read(folder, **options)
    splits = read(folder, **options, missing_classes="allow")
    assert splits.classes == tuple("abcde")
    assert any("no training image of 'e'" in note for note in splits.notes)
    assert any("test has no image of 'a', 'b', 'c' and 1 more" in note for note in splits.notes)


def test_a_tenth_of_each_class_is_held_out(write: Write, read: Read) -> None:
    folder = folder_of(write, {"cat": 30, "dog": 10, "cow": 20})
    splits = read(folder)
    assert (splits.train.num_examples, splits.validation.num_examples) == (54, 6)  # type: ignore[union-attr]
    assert np.bincount(labels(splits, "validation")).tolist() == [3, 2, 1]
    assert any("6 of the 60 training images" in note and "data.validation=none" in note for note in splits.notes)
    assert not any("too" in note for note in splits.notes), "the two share no image"
    assert read(folder).fingerprint == splits.fingerprint != read(folder, validation=None).fingerprint


def test_too_few_to_hold_out(write: Write, read: Read) -> None:
    for counts, total in (({"cat": 4, "dog": 4}, 8), (dict.fromkeys("abcdefghij", 1), 10)):
        paths = (f"{kind}/{number}.png" for kind, count in counts.items() for number in range(count))
        splits = read(write(*paths, folder=f"of {len(counts)} classes"))
        assert splits.validation is None
        assert any(f"too few training images ({total})" in note for note in splits.notes)
        assert set(labels(splits)) == set(range(len(counts)))


def test_the_sets_that_come_with_the_project_hold_nothing_out(offline_cache: Path) -> None:
    from framework.data import load
    from framework.spec import DataSpec

    splits = load(DataSpec(name="digits", train="train[:50%]"), offline_cache)
    assert (splits.train.num_examples, splits.validation.num_examples) == (50, 297)  # type: ignore[union-attr]
    rows = load(DataSpec(name="digits", train="train[:50]"), offline_cache)
    assert rows.fingerprint == splits.fingerprint, "their own order is balanced, and stays what it was"


def test_a_copy_of_a_test_image_is_told(write_images: Write, read: Read, paint: Paint) -> None:
    names = [*several("train/a", "train/b"), *several("test/a", "test/b")]
    folder = write_images({name: paint(min(number, 10)) for number, name in enumerate(names)})
    assert not any("pixel" in note for note in read(folder).notes)
    (folder / "train/b/copy.png").write_bytes((folder / "test/a/0.png").read_bytes())
    assert any("1 image of test is in train too, pixel for pixel" in note for note in read(folder).notes)


def test_an_image_in_two_classes_is_told(write: Write, read: Read) -> None:
    folder = write(*several("train/a", "train/b", "train/c"))
    assert not any("pixel" in note for note in read(folder).notes)
    for copy in ("a/again.png", "b/copy.png", "c/copy.png"):
        (folder / "train" / copy).write_bytes((folder / "train/a/0.png").read_bytes())
    (folder / "train/c/other.png").write_bytes((folder / "train/b/1.png").read_bytes())
    [note] = [note for note in read(folder, **OWN).notes if "pixel" in note]
    assert note.startswith(f"{folder}: 2 images of train are in two classes, pixel for pixel: ")
    assert not any("two classes" in note for note in read(folder, labels=None, **OWN).notes)


NFC, NFD = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"


def test_unicode_forms_of_one_name_are_one_class(write: Write, read: Read) -> None:
    """As macOS, zip files and Linux write them."""
    splits = read(write(*several(f"train/{NFC}", "train/b", f"test/{NFD}", "test/b")), validation=None)
    assert (splits.classes, labels(splits, "test")) == (("b", NFC), [0, 0, 0, 1, 1, 1])
    with pytest.raises(UserError, match=rf"two class folders are called '{NFC}', in two Unicode forms"):
        read(write(*several(NFC, NFD), folder="both"))


@pytest.mark.parametrize("names", [("Cat", "cat"), ("cat", "cat "), ("sea-side", "sea_side")])
def test_classes_of_nearly_one_name_are_told(names: tuple[str, str], write: Write, read: Read) -> None:
    splits = read(write(*several(*names, "+", "-")), **OWN)
    assert splits.classes == tuple(sorted([*names, "+", "-"]))
    told = f"the classes {names[0]!r} and {names[1]!r} have nearly one name, and are taken as different classes"
    assert [note for note in splits.notes if "nearly one name" in note] == [f"{splits.name}: {told}"]


def test_a_name_that_is_no_text_is_refused(write: Write, read: Read) -> None:
    folder = write(*several("a", "b"))
    os.rename(os.fsencode(folder / "a/0.png"), os.fsencode(folder / "a") + b"/\xff.png")
    with pytest.raises(UserError, match=r"the name b'\\xff\.png' is not UTF-8: rename it"):
        read(folder)


def test_a_split_that_nothing_takes_is_told(write: Write, read: Read) -> None:
    folder = write(*several("train/a", "train/b", "extra/a", "extra/b"))
    told = f"{folder}: the split extra (6 rows) is used for nothing; data.train=train+extra trains on it too"
    assert told in read(folder, **OWN).notes
    assert not any("used for nothing" in note for note in read(folder, **OWN, train="train+extra").notes)


def test_several_splits_that_nothing_takes_are_told(write: Write, read: Read) -> None:
    folder = write(*several("train/a", "train/b", "query/a", "gallery/b"))
    told = "the splits gallery (3 rows), query (3 rows) are used for nothing; data.train=train+gallery+query trains on"
    assert any(told in note for note in read(folder, **OWN).notes)


def test_a_copy_in_the_images_of_another_set_is_told(write: Write, read: Read) -> None:
    folder, other = write(*several("train/a", "train/b", "test/a", "test/b")), write("0.png", folder="other")
    assert not any("pixel" in note for note in read(folder, train_from=str(other)).notes)
    (other / "1.png").write_bytes((folder / "test/b/1.png").read_bytes())
    notes = read(folder, train_from=str(other)).notes
    assert f"{folder}: 1 image of test is in train too, pixel for pixel" in notes


def test_a_file_of_several_frames_is_told(write: Write, read: Read, paint: Paint) -> None:
    folder = write(*several("a", "b"))
    for number, name in enumerate(("film.gif", "film.webp", "pages.tif", "film.png", "still.gif", "still.tif")):
        first, *others = [Image.fromarray(paint(10 * number + frame)) for frame in range(3)]
        several_frames = {"save_all": True, "append_images": others} if "still" not in name else {}
        first.save(folder / "a" / name, lossless=True, **several_frames)
    for policy in ("error", "skip"):
        notes = read(folder, **OWN, on_bad_image=policy).notes
        assert f"{folder}[train]: 4 images have several frames; the first of each is taken" in notes


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("train", "holdout"), "left out: 1 .parquet whose names say no split ('holdout.parquet')"),
        (
            ("mytest", "mytrain"),
            "no file's name says a split, so 'mytest.parquet', 'mytrain.parquet' are all trained on",
        ),
        (("train-00000-of-00002", "train-00001-of-00002"), None),
        (("part-0", "part-1"), None),
        (("train", "dev"), None),
    ],
)
def test_parquet_files_that_say_no_split_are_told(
    names: tuple[str, ...],
    told: str | None,
    write_parquet: Callable[..., Path],
    read: Read,
    encode: Callable[..., bytes],
    paint: Paint,
    tmp_path: Path,
) -> None:
    for place, name in enumerate(names):
        images = [encode(paint(10 * place + number)) for number in range(4)]
        write_parquet({"image": images, "label": ["x", "y"] * 2}, f"shards/{name}.parquet")
    told_of = read(tmp_path / "shards", test=None).notes
    notes = [note for note in told_of if "say no split" in note or "says a split" in note]
    assert len(notes) == (told is not None)
    assert all(told in note for note in notes if told)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (7, 1000000)])
def test_numbers_that_do_not_begin_with_zero(
    first: int, second: int, write_parquet: Callable[..., Path], read: Read, encode: Callable[..., bytes], paint: Paint
) -> None:
    values = [second, first, second, None]
    splits = read(write_parquet({"image": [encode(paint(number)) for number in range(4)], "label": values}))
    assert (splits.classes, labels(splits)) == ((str(first), str(second)), [1, 0, 1, -1])
    assert any(f"the labels {first} to {second} are taken as 2 classes, 0 to 1" in note for note in splits.notes)


def test_numbers_as_names_stay_names(write: Write, read: Read) -> None:
    splits = read(write(*several("0", "1", "10", "-1")), **OWN)
    assert (splits.classes, sorted(set(labels(splits)))) == (("-1", "0", "1", "10"), [0, 1, 2, 3])


def test_a_split_without_labels_says_so(tmp_path: Path, read: Read, encode: Callable[..., bytes], paint: Paint) -> None:
    from datasets import Dataset, DatasetDict

    def part(*values: int) -> Dataset:
        images = [{"bytes": encode(paint(number)), "path": None} for number in range(len(values))]
        return Dataset.from_dict({"image": images, "label": list(values)})

    DatasetDict({"train": part(0, 1, 1), "test": part(-1, -1)}).save_to_disk(tmp_path / "saved")
    assert any("no test image has a label" in note for note in read(tmp_path / "saved").notes)

"""What is told of data that may not be meant so: copies, names that look alike, splits that nothing takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from framework.errors import UserError
from tests.framework.data.folders import OWN, Paint, Read, Write, labels, several


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
    told = f"{folder}: the split extra (6 rows) is not used; data.train=train+extra trains on it too"
    assert told in read(folder, **OWN).notes
    assert not any("not used" in note for note in read(folder, **OWN, train="train+extra").notes)


def test_several_splits_that_nothing_takes_are_told(write: Write, read: Read) -> None:
    folder = write(*several("train/a", "train/b", "query/a", "gallery/b"))
    told = "the splits gallery (3 rows), query (3 rows) are not used; data.train=train+gallery+query trains on"
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

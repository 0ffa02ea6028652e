"""Tables beside images: which labels they give, and what is said of those that give none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from framework.data import Splits
from framework.errors import UserError

Read = Callable[..., Splits]
Paint = Callable[..., np.ndarray]
Write = Callable[..., Path]
OWN = {"validation": None, "test": None}


@pytest.fixture
def write(write_images: Write, paint: Paint) -> Callable[..., Path]:
    """Write a picture for each path, no two alike."""
    return lambda *paths: write_images({path: paint(number) for number, path in enumerate(paths)})


def labels(splits: Splits) -> list[int]:
    found: list[int] = splits.train.labels(np.arange(splits.train.num_examples)).tolist()  # type: ignore[union-attr]
    return found


def several(*folders: str, count: int = 3) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


@pytest.mark.parametrize("labels_too", [True, False])
def test_metadata_name_images_and_labels(labels_too: bool, write: Write, read: Read) -> None:
    folder = write(*several("train", count=4))
    lines = [f"{number}.png,{('x', 'y')[number % 2]}" for number in (2, 1, 0)]
    (folder / "train" / "metadata.csv").write_text("\n".join(["file_name,label" if labels_too else "a,b", *lines]))
    if not labels_too:  # a table of something else
        with pytest.raises(UserError, match="no label column"):
            read(folder)
        return
    splits = read(folder, **OWN)
    assert (splits.classes, labels(splits)) == (("x", "y"), [0, 1, 0])
    assert "left out: 1 images without a line in the metadata" in splits.notes[0]


def test_metadata_of_missing_images(write: Write, read: Read) -> None:
    folder = write("0.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "label": 0}\n{"file_name": "1.png", "label": 1}\n')
    with pytest.raises(UserError, match=r"not there: '.*/1\.png'"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", b""),
        ("metadata.csv", b"file_name,label\n\xff\xfe\x00,1\n"),
        ("metadata.csv", b'file_name,label\n"0.png,1\n'),
        ("metadata.jsonl", b"{not json"),
        ("metadata.parquet", b"PAR1 no table"),
    ],
)
def test_metadata_that_cannot_be_read(name: str, content: bytes, write: Write, read: Read) -> None:
    folder = write(*several("a", "b"))
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"/{name} can't be read: ."):
        read(folder)


def test_a_table_that_names_no_files_is_told(write: Write, read: Read) -> None:
    folder = write(*several("train/a", "train/b", "test/a", "test/b"))
    (folder / "metadata.csv").write_text("file_name;label\na/0.png;x\n")
    assert "left out: 1 metadata.csv without a column 'file_name'" in read(folder, validation=None).notes[0]


TABLES: dict[str, tuple[str, str, tuple[str, ...], list[int]]] = {
    "words that pandas takes for nothing": (
        "metadata.csv",
        "file_name,label\n0.png,NA\n1.png,None\n2.png,null\n",
        ("NA", "None", "null"),
        [0, 1, 2],
    ),
    "leading zeros": ("metadata.csv", "file_name,label\n0.png,010\n1.png,001\n", ("001", "010"), [1, 0]),
    "numbers, one missing": ("metadata.csv", "file_name,label\n0.png,1\n1.png,\n2.png,0\n", ("0", "1"), [1, -1, 0]),
    "numbers in their order": ("metadata.csv", "file_name,label\n0.png,10\n1.png,2\n", ("2", "10"), [1, 0]),
    "truth": ("metadata.csv", "file_name,label\n0.png,True\n1.png,False\n", ("False", "True"), [1, 0]),
    "spaces": ("metadata.csv", "file_name, label\n0.png, x\n1.png, y\n", ("x", "y"), [0, 1]),
    "a byte order mark": ("metadata.csv", "\ufefffile_name,label\n0.png,x\n1.png,y\n", ("x", "y"), [0, 1]),
    "paths of Windows": ("metadata.csv", "file_name,label\nin\\3.png,x\n1.png,y\n", ("x", "y"), [0, 1]),
    "lines, one without": (
        "metadata.jsonl",
        '{"file_name":"0.png","label":1}\n{"file_name":"1.png"}\n{"file_name":"2.png","label":0}\n',
        ("0", "1"),
        [1, -1, 0],
    ),
    "lines of words": (
        "metadata.jsonl",
        '{"file_name":"0.png","label":"001"}\n{"file_name":"1.png","label":"1"}\n',
        ("001", "1"),
        [0, 1],
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_labels_are_what_is_written(kind: str, write: Write, read: Read) -> None:
    name, text, classes, numbers = TABLES[kind]
    folder = write("0.png", "1.png", "2.png", "in/3.png")
    (folder / name).write_text(text)
    splits = read(folder, **OWN)
    assert (splits.classes, labels(splits)) == (classes, numbers)


def test_labels_against_folders_are_told(write: Write, read: Read) -> None:
    folder = write(*several("a", "b"))
    lines = ["file_name,label", *(f"{name}/{number}.png,{name}" for name in "ab" for number in range(3))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    assert not any("metadata" in note for note in read(folder, **OWN).notes)
    (folder / "metadata.csv").write_text("\n".join([*lines[:-1], "b/2.png,a"]))
    told = f"{folder}: labels are those of the metadata; 1 image lies in the folder of another class"
    assert told in read(folder, **OWN).notes


def test_images_without_folders_or_table_hear_of_both(write: Write, read: Read) -> None:
    folder = write("cat_0.png", "dog_0.png")
    (folder / "labels.csv").write_text("id,label\n0,x\n")
    with pytest.raises(UserError, match=r"each class needs a folder, or each file a line .* in metadata\.csv"):
        read(folder)

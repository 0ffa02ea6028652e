"""Parquet files and saved folders: what is opened, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from framework.errors import UserError
from tests.framework.data.folders import Read, labels_of


def test_a_file_that_is_no_parquet(tmp_path: Path, read: Read) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.parquet").write_text("x")
    with pytest.raises(UserError, match="is not a parquet file"):
        read(tmp_path / "notes.txt")
    for name in ("broken.parquet", ""):
        with pytest.raises(UserError, match=r"broken\.parquet can't be read as parquet"):
            read(tmp_path / name)
    (tmp_path / "photos.zip").write_text("x")
    with pytest.raises(UserError, match="is not a parquet file; unpack it, and give a folder"):
        read(tmp_path / "photos.zip")


def test_parquet_beside_images_is_refused(
    write_images: Callable[..., Path], write_parquet: Callable[..., Path], paint: Callable[..., np.ndarray], read: Read
) -> None:
    folder = write_images({f"{name}/0.png": paint(number) for number, name in enumerate("ab")})
    for name in (".cache/x.parquet", "metadata.parquet"):  # neither is data
        write_parquet({"file_name": ["a/0.png", "b/0.png"], "label": [0, 1]}, f"pictures/{name}")
    assert read(folder, validation=None, test=None).train.num_examples == 2
    write_parquet({"embedding": [0.5]}, "pictures/features.parquet")
    told = r"there are 2 images and 1 \.parquet \('features\.parquet'\) in this folder, and either may be the data"
    with pytest.raises(UserError, match=told):
        read(folder)


def test_what_lies_beside_parquet_files_is_told(
    write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list]
) -> None:
    folder = write_parquet({"image": encoded_rows(2), "label": [0, 1]}, "data/train.parquet").parent
    (folder / "test.parquet").symlink_to("nowhere")
    (folder / "classes.txt").write_text("x")
    assert "left out: 1 .txt, 1 link that leads nowhere" in read(folder).notes[0]


def test_only_hub_sets_have_configurations(two_classes: Path, read: Read) -> None:
    with pytest.raises(UserError, match="only hub data sets have configurations"):
        read(two_classes, config="small")


def test_parquet_with_and_without_features(
    write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list], paint: Callable[..., np.ndarray]
) -> None:
    from datasets import ClassLabel, Features, Image

    rows = {"picture": encoded_rows(4), "kind": [0, 1, 0, 1]}
    typed = read(
        write_parquet(rows, "typed.parquet", Features({"picture": Image(), "kind": ClassLabel(names=["a", "b"])}))
    )
    plain = read(write_parquet(rows, "plain.parquet"), labels="kind")
    raw = read(
        write_parquet({"image": [row["bytes"] for row in rows["picture"]], "label": rows["kind"]}, "raw.parquet")
    )
    for splits in (typed, plain, raw):
        np.testing.assert_array_equal(splits.train.images(np.array([2, 0])), [paint(2), paint(0)])
        assert labels_of(splits.train) == [0, 1, 0, 1]
    assert (typed.classes, plain.classes, raw.classes) == (("a", "b"), ("0", "1"), ("0", "1"))


def test_a_parquet_folder_and_a_glob(
    write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list]
) -> None:
    for first, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")):
        file = write_parquet({"image": encoded_rows(3, 10 * first), "label": [0, 1, 0]}, f"data/{name}.parquet")
    folder = read(file.parent)
    assert (folder.train.num_examples, folder.test.num_examples) == (6, 3)  # type: ignore[union-attr]
    assert read(f"{file.parent}/train-*.parquet").train.num_examples == 6


def test_saved_to_disk(
    tmp_path: Path, read: Read, encoded_rows: Callable[..., list], paint: Callable[..., np.ndarray]
) -> None:
    from datasets import Dataset, DatasetDict, Features, Image, Value

    features = Features({"image": Image(), "label": Value("string")})
    dataset = Dataset.from_dict({"image": encoded_rows(6), "label": list("xyxyxz")}, features)
    DatasetDict({"train": dataset, "test": dataset.select([5, 0, 1])}).save_to_disk(tmp_path / "dict")
    dataset.save_to_disk(tmp_path / "single")
    splits = read(tmp_path / "dict")
    assert splits.classes == ("x", "y", "z")
    assert labels_of(splits.test) == [2, 0, 1]
    np.testing.assert_array_equal(splits.test.images(np.arange(3)), [paint(5), paint(0), paint(1)])  # type: ignore[union-attr]
    assert read(tmp_path / "single").train.num_examples == 6


def test_a_single_saved_split_keeps_its_name(tmp_path: Path, read: Read, encoded_rows: Callable[..., list]) -> None:
    from datasets import Dataset

    Dataset.from_dict({"image": encoded_rows(4), "label": [0, 1, 0, 1]}, split="test").save_to_disk(
        tmp_path / "held out"
    )
    with pytest.raises(UserError, match="it has test"):
        read(tmp_path / "held out")


def test_a_damaged_saved_folder(tmp_path: Path, read: Read) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(UserError, match="can't be read"):
        read(tmp_path / "saved")

"""The columns of images and of labels, found or named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from framework.errors import UserError
from tests.framework.data.folders import Read


def test_missing_columns_list_what_there_is(
    write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list]
) -> None:
    file = write_parquet({"image": encoded_rows(2), "label": [0, 1]})
    with pytest.raises(
        UserError, match=r"no column 'imge' \(data\.image\): did you mean 'image'\? allowed: image, label"
    ):
        read(file, image="imge")
    with pytest.raises(UserError, match=r"split 'train'.*no column 'labl' \(data\.labels\): did you mean 'label'"):
        read(file, labels="labl")
    with pytest.raises(UserError, match=r"column 'label' holds no images \(label \(int64\)\)"):
        read(file, image="label")


def test_no_or_several_image_columns(
    write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list]
) -> None:
    with pytest.raises(UserError, match=r"several image columns among front, back"):
        read(write_parquet({"front": encoded_rows(2), "back": encoded_rows(2), "label": [0, 1]}, "two.parquet"))
    with pytest.raises(UserError, match=r"no image column among x \(int64\), label \(int64\)"):
        read(write_parquet({"x": [1, 2], "label": [0, 1]}, "none.parquet"))
    with pytest.raises(UserError, match=r"no rows\.parquet': a split is empty"):
        read(write_parquet({"image": [], "label": []}, "no rows.parquet"))
    chosen = write_parquet({"front": encoded_rows(2), "back": encoded_rows(2, 50), "label": [0, 1]}, "two.parquet")
    assert read(chosen, image="back").fingerprint != read(chosen, image="front").fingerprint


def test_a_column_missing_in_one_split(tmp_path: Path, read: Read, encoded_rows: Callable[..., list]) -> None:
    from datasets import Dataset, DatasetDict

    both = Dataset.from_dict({"image": encoded_rows(2), "label": [0, 1]})
    DatasetDict({"train": both, "test": both.remove_columns("label")}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="split 'test': no label column"):
        read(tmp_path / "saved")
    assert read(tmp_path / "saved", test=None).test is None


def test_several_class_labels(
    write_parquet: Callable[..., Path], read: Read, encoded_rows: Callable[..., list]
) -> None:
    from datasets import ClassLabel, Features, Image

    def file(*names: str) -> Path:
        features = Features({"img": Image(), **{name: ClassLabel(names=[f"{name}0", f"{name}1"]) for name in names}})
        return write_parquet(
            {"img": encoded_rows(2), **{name: [0, 1] for name in names}}, f"{'-'.join(names)}.parquet", features
        )

    assert read(file("coarse_label", "fine_label")).classes == ("fine_label0", "fine_label1")
    with pytest.raises(UserError, match=r"no label column found \(class labels: colour, shape\)"):
        read(file("colour", "shape"))

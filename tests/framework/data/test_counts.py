"""Counting without decoding or downloading gives what loading gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.data import load
from framework.data.counts import count
from framework.errors import UserError
from framework.spec import DataSpec


def write(folder: Path, classes: int, each: int) -> str:
    for label in range(classes):
        (folder / f"c{label}").mkdir(parents=True)
        for number in range(each):
            pixels = np.full((6 + label, 5 + number, 3), 10 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"c{label}" / f"{number}.png")
    return str(folder)


def test_the_catalogue_counts_without_the_data(tmp_path: Path) -> None:
    found = count(DataSpec(name="timm/oxford-iiit-pet"), tmp_path)
    assert (found.train, found.validation, found.test, found.num_classes) == (3312, 368, 3669, 37)
    assert list(tmp_path.iterdir()) == []
    assert count(DataSpec(name="timm/oxford-iiit-pet", labels=None), tmp_path).num_classes is None


@pytest.mark.parametrize("train", ["train", "upstream+train", "train[:30%]"])
def test_digits_are_counted_as_they_are_loaded(tmp_path: Path, train: str) -> None:
    spec = DataSpec(name="digits", train=train)
    found, loaded = count(spec, tmp_path), load(spec, tmp_path)
    assert loaded.validation is not None
    assert (found.train, found.validation) == (loaded.train.num_examples, loaded.validation.num_examples)
    assert loaded.train.uniform == (found.side, found.side)


def test_folders_and_images_of_another_one(tmp_path: Path) -> None:
    mine, other = write(tmp_path / "mine", 2, 5), write(tmp_path / "other", 3, 4)
    spec = DataSpec(name=mine, train_from=other, train="train[:75%]", validation="stratified(train)[:50%]", test=None)
    found, loaded = count(spec, tmp_path / "cache"), load(spec, tmp_path / "cache")
    assert (found.train, found.validation, found.num_classes) == (9, 5, 2)
    assert loaded.train.num_examples == 9
    assert loaded.validation is not None
    assert (loaded.validation.num_examples, loaded.classes) == (5, ("c0", "c1"))
    # The other set's images come without its labels.
    assert loaded.train.labels(np.arange(9)) is None
    assert loaded.train.name.startswith(other)
    # Fewer of the other set's images are another data set.
    fewer = load(dataclasses.replace(spec, train="train[:50%]"), tmp_path / "cache")
    assert fewer.validation is not None
    assert fewer.validation.fingerprint == loaded.validation.fingerprint
    assert fewer.fingerprint != loaded.fingerprint


def test_what_a_run_would_refuse_or_tell_is_told(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", 2, 10)
    with pytest.raises(UserError, match=r"no column 'picture' \(data\.image\): allowed: image, label"):
        count(DataSpec(name=mine, image="picture"), tmp_path / "cache")
    (tmp_path / "mine" / "c0" / "a.txt").write_text("")
    notes = count(DataSpec(name=mine), tmp_path / "cache").notes
    assert any("2 of the 20 training images" in note for note in notes)
    assert any(note.endswith("left out: 1 .txt") for note in notes)


def test_glyphs_are_counted_without_being_drawn(tmp_path: Path) -> None:
    found = count(DataSpec(name="glyphs"), tmp_path)
    assert (found.train, found.validation, found.test, found.num_classes, found.side) == (660, 660, 1980, 33, 24)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_hub_id_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the catalogue doesn't list its size; it lists digits, glyphs"):
        count(DataSpec(name="somebody/else"), tmp_path)

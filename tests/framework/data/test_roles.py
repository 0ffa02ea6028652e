"""Which images train, validate and test: slices, and what is held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from framework.errors import UserError
from tests.framework.data.folders import OWN, Read, Write, labels


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

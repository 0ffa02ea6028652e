"""The data sets that come with the project: sizes, determinism, held-out fonts, and simultaneous first runs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from framework.data import Splits, glyphs, load
from framework.data.digits import SIZES
from framework.data.offline import OFFLINE, load_offline, once
from framework.draws import keyed
from framework.spec import DataSpec


def everything(splits: Splits, role: str) -> tuple[np.ndarray, np.ndarray]:
    source = getattr(splits, role)
    ids = np.arange(source.num_examples)
    return np.asarray(source.images(ids)), source.labels(ids)


def test_digits_are_the_scans_each_once(offline_cache: Path) -> None:
    from sklearn.datasets import load_digits

    data, notes = load_offline("digits", offline_cache)
    assert notes == ()
    assert {split: len(rows) for split, rows in data.items()} == SIZES
    found = [(np.asarray(row["image"]).tobytes(), row["label"]) for split in data for row in data[split]]
    scans = load_digits()
    levels = np.rint(scans.images * 255 / 16 + 1e-9).astype(np.uint8)  # 16ths of 255: only 8/16 is a tie, and goes up
    assert sorted(found) == sorted(
        (image.tobytes(), int(label)) for image, label in zip(levels, scans.target, strict=True)
    )


def test_digits_are_grey_scans_in_rgb_in_balanced_splits(offline_cache: Path) -> None:
    splits = load(DataSpec(name="digits"), offline_cache)
    images, labels = everything(splits, "train")
    assert images.shape == (100, 8, 8, 3)
    assert images.dtype == np.uint8
    assert (images[..., 0] == images[..., 2]).all()
    assert images.max() == 255
    assert set(np.bincount(labels, minlength=10)) <= {9, 10, 11}
    assert splits.classes == tuple("0123456789")
    assert splits.notes == (
        "data digits: 100 images to train, 297 to validate, 900 to test, 10 classes: 0, 1, 2, 3, 4, ...; "
        "9 to 11 training images a class",
    )
    assert [splits.validation.num_examples, splits.test.num_examples] == [297, 900]  # type: ignore[union-attr]


def test_glyphs_are_what_the_pinned_versions_drew(offline_cache: Path) -> None:
    _, notes = load_offline("glyphs", offline_cache)
    assert notes == (), "the pixels have changed: raise the version in OFFLINE and store the new hash"
    assert json.loads((offline_cache / "offline/glyphs-v1/made.json").read_text())["sha256"] == glyphs.SHA256


def test_glyphs_have_their_sizes_and_the_student_sees_the_first_of_the_teachers(offline_cache: Path) -> None:
    student = load(DataSpec(name="glyphs"), offline_cache)
    teacher = load(DataSpec(name="glyphs", train="upstream"), offline_cache)
    (images, labels), (all_images, all_labels) = everything(student, "train"), everything(teacher, "train")
    assert images.shape == (660, 24, 24, 3)
    assert all_images.shape == (33 * 240, 24, 24, 3)
    np.testing.assert_array_equal(images, all_images[:660])
    np.testing.assert_array_equal(labels, all_labels[:660])
    assert set(np.bincount(everything(student, "test")[1])) == {60}
    assert set(np.bincount(everything(student, "validation")[1])) == {20}
    assert student.classes == tuple("23456789ABCDEFGHJKLMNOPQRSTUVWXYZ")


def test_no_font_and_no_image_is_in_two_of_the_splits(offline_cache: Path) -> None:
    fonts = [*glyphs.TRAINING_FONTS, *glyphs.VALIDATION_FONTS, *glyphs.TEST_FONTS]
    assert len(set(fonts)) == len(fonts) == 21
    splits = load(DataSpec(name="glyphs", train="upstream"), offline_cache)
    images = [image.tobytes() for role in ("train", "validation", "test") for image in everything(splits, role)[0]]
    assert len(set(images)) == len(images)


def test_every_font_has_every_character() -> None:
    for font in (*glyphs.TRAINING_FONTS, *glyphs.VALIDATION_FONTS, *glyphs.TEST_FONTS):
        masks = [bytes(glyphs._font(font, 40).getmask(character)) for character in glyphs.CLASSES]
        assert len(set(masks)) == len(glyphs.CLASSES), font  # a missing one is drawn as the font's empty box
        assert all(sum(mask) for mask in masks)


def test_a_glyphs_colour_is_far_from_its_background() -> None:
    for mean in (np.array([128.0, 128, 128]), np.array([250.0, 4, 90])):
        for number in range(50):
            u = keyed.uniform(number, np.arange(glyphs._NUM_DRAWS))
            assert np.abs(np.array(glyphs._far_colour(mean, u)) - mean).sum() > 260


def test_the_second_load_draws_nothing(offline_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(DataSpec(name="digits"), offline_cache)
    monkeypatch.setitem(OFFLINE, "digits", None)
    with pytest.raises(AttributeError):
        load(DataSpec(name="digits"), offline_cache / "other")
    monkeypatch.undo()
    assert load(DataSpec(name="digits"), offline_cache).fingerprint == first.fingerprint


def test_simultaneous_first_runs_make_it_once(tmp_path: Path) -> None:
    made: list[int] = []

    def run(number: int) -> None:
        with once(tmp_path / "set") as making:
            if making is not None:
                made.append(number)
                (making / "file").write_text("x" * 1000)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["set"]


def test_a_failure_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    def make_half() -> None:
        with once(tmp_path / "set") as making:
            assert making is not None
            (making / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_half()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_two_processes_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from framework.data import load; from framework.spec import DataSpec\n"
        "print(load(DataSpec(name='digits'), Path(sys.argv[1])).fingerprint)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert [error for _, error in outputs] == ["", ""]


def test_the_import_is_light() -> None:
    heavy = ("datasets", "pandas", "sklearn", "matplotlib", "cv2", "PIL", "keras")
    code = f"import sys, framework.data; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

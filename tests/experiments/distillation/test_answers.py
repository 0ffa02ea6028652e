from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.distillation import answers
from framework.data.source import Splits
from tests.experiments.reports.noise import noise

ANSWERS = {
    "ids": np.arange(6),
    "labels": np.array([0, 0, 2, 2, 2, -1]),
    "student": np.array([0, 1, 2, 2, 0, 1]),
    "student_p": np.array([0.9, 0.6, 0.5, 0.5, 0.7, 0.4]),
    "teacher": np.array([0, 0, 2, 1, 0, 1]),
    "teacher_p": np.full(6, 0.8),
    "kl": np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.95]),
}
ALONE = {name: array for name, array in ANSWERS.items() if name not in ("teacher", "teacher_p", "kl")}


def test_classes_are_the_labels() -> None:
    assert answers.by_class(ANSWERS) == [[0, 2, 1, 2], [2, 3, 2, 1]]
    assert answers.by_class(ALONE) == [[0, 2, 1, -1], [2, 3, 2, -1]]


def test_without_labels_they_are_the_teacher_s() -> None:
    unlabelled = ANSWERS | {"labels": np.full(6, -1)}
    # 0 is the teacher's class of the images 0, 1 and 4, on two of which the student agrees.
    assert answers.by_class(unlabelled) == [[0, 3, 2, 3], [1, 2, 1, 2], [2, 1, 1, 1]]
    assert answers.by_class(ALONE | {"labels": np.full(6, -1)}) == []


def test_the_most_different_come_first() -> None:
    assert answers.most_different(ANSWERS).tolist() == [5, 1, 4, 3, 2, 0]
    # Without a teacher: wrong ones, the surest first; one without a label is neither right nor wrong.
    assert answers.most_different(ALONE).tolist() == [4, 1]


@pytest.mark.parametrize("taught", [True, False])
def test_the_file_has_classes_and_small_pictures(tmp_path: Path, taught: bool) -> None:
    splits, found = noise(np.random.default_rng(0), 300, 4, taught)
    kept = json.loads(answers.write(tmp_path / answers.FILE, "test", splits, found).read_text())
    assert (kept["examples"], kept["by"], kept["classes"]) == (300, "label", [f"class {number}" for number in range(4)])
    assert sum(row[1] for row in kept["by_class"]) == 300
    right = sum(row[2] for row in kept["by_class"])
    assert right == (found["student"] == found["labels"]).sum()
    assert len(kept["images"]) == answers.NUM_IMAGES
    for image in kept["images"]:
        place = image["id"]
        assert (image["label"], image["student"]) == (found["labels"][place], found["student"][place])
        assert ("kl" in image, "teacher" in image) == (taught, taught)
    assert max(opened(kept["images"][0]["image"]).size) == answers.LONGEST
    assert (tmp_path / answers.FILE).stat().st_size < 100_000


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_a_picture_of_few_pixels_keeps_all_of_them() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(answers.thumbnail(image)["image"])), image)


def test_the_split_is_the_test_or_else_the_validation() -> None:
    splits, _ = noise(np.random.default_rng(0), 3, 2)
    test = splits.test
    assert test is not None
    for validation, given, wanted in ((None, test, "test"), (test, None, "validation"), (None, None, None)):
        made = Splits(test, validation, given, None, "noise", "noise")
        assert answers.split_of(made) == wanted

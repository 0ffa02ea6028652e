"""A stored student predicts what its evaluation saw."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import distill, load_student
from experiments.distillation.student import Student
from framework.data.decode import BadImage
from framework.data.hostviews import evaluation_view, to_range
from framework.errors import UserError

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of colour, of unequal sizes."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 5)):
        for place, name in enumerate(("blue", "red")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 90, (10 + number, 12, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * place] += 150
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(photographs: Path, backend: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a finished run, and its test accuracy."""
    spec = {
        "data": {"name": str(photographs)},
        "teaching": "labels",
        "teachers": [],
        "loss": {"task_weight": 1.0},
        "student": {"name": "convnet", "options": {"widths": [8]}},
        "views": {"size": 8},
        "optimizer": {"lr": 0.02},
        "schedule": {"warmup_steps": 0},
        "duration": {"total_steps": 30},
        "batch_size": 8,
    }
    folder = tmp_path_factory.mktemp("run")
    _, results = distill(spec, folder=folder, backend=backend, quiet=True)
    return folder, results["test"]["student"]["accuracy"]


def test_predictions_are_those_of_the_evaluation(run: tuple[Path, float], photographs: Path, backend: str) -> None:
    student = load_student(run[0], backend)
    paths = sorted((photographs / "test").rglob("*.png"))
    found = student.predict(paths, batch_size=4)
    assert found.shape == (10, 2)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    names = [student.classes[place] for place in found.argmax(-1)]
    right = [name == path.parent.name for name, path in zip(names, paths, strict=True)]
    assert np.mean(right) == pytest.approx(run[1])
    assert np.mean(right) > 0.8
    arrays = [np.asarray(Image.open(path)) for path in paths]
    np.testing.assert_array_equal(student.predict(arrays), student.predict(paths))


def test_the_central_crop_is_that_of_the_evaluation(run: tuple[Path, float], backend: str) -> None:
    student = load_student(run[0], backend)
    cropped = Student(student.model, dataclasses.replace(student.card, resize=10))
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(cropped.view(image), to_range(evaluation_view(image, 10, 8, 8)))
    assert np.abs(cropped.view(image) - student.view(image)).max() > 0.1


def test_nothing_to_predict(run: tuple[Path, float], backend: str) -> None:
    assert load_student(run[0] / "student", backend).predict([]).shape == (0, 2)


def test_mistakes(run: tuple[Path, float], backend: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model in"):
        load_student(tmp_path, backend)
    with pytest.raises(BadImage, match=r"none\.png"):
        load_student(run[0], backend).predict([tmp_path / "none.png"])

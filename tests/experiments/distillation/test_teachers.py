"""Teachers that are built: their weights, their classes in the data's order, their views."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.distillation import teachers
from framework.data.source import Splits
from framework.errors import UserError
from framework.files import stored
from framework.files.arrays import write_arrays
from framework.spec import DistillSpec
from tests.experiments.distillation.small import CARD, build, values_of

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def splits(*classes: str) -> Splits:
    source: Any = SimpleNamespace()
    return Splits(source, None, None, classes or None, "mine", "0")


def spec(**teacher: Any) -> DistillSpec:
    return DistillSpec.from_dict({"teachers": [teacher], "views": {"size": 8}})


def models(of: DistillSpec, known: Splits) -> list[Any]:
    return [teacher.model for teacher in teachers.load(of, known)]


def test_a_stored_teacher_comes_with_its_weights_of(tmp_path: Path) -> None:
    arrays = values_of(build(seed=3))
    stored.save(tmp_path / "own", CARD, arrays)
    for known in (splits("a", "b"), splits()):
        (model,) = models(spec(name="own"), known)
        for name, array in values_of(model).items():
            np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("a", "b", "c"), "the teacher knows 2 classes, but data 'mine' have 3"),
        (("a", "c"), "the teacher knows no class 'c' of data 'mine'"),
    ],
)
def test_a_stored_teacher_of_other_classes_is_refused(tmp_path: Path, classes: tuple[str, ...], told: str) -> None:
    stored.save(tmp_path / "own", CARD, values_of(build()))
    with pytest.raises(UserError, match=told):
        models(spec(name="own"), splits(*classes))


def test_a_teacher_answers_in_the_data_s_order(tmp_path: Path) -> None:
    from keras import ops

    views = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    arrays = values_of(build(3, seed=3))
    write_arrays(tmp_path / "a.safetensors", arrays, {})
    (tmp_path / "theirs.txt").write_text("a\nb\nc\n")
    stored.save(tmp_path / "own", dataclasses.replace(CARD, classes=("a", "b", "c"), num_classes=3), arrays)
    given = {"name": "convnet", "options": {"widths": [4]}, "weights": str(tmp_path / "a.safetensors")}
    original = np.asarray(ops.convert_to_numpy(build(3, seed=3)(views)))
    for values in ({"name": "own"}, given | {"classes": str(tmp_path / "theirs.txt")}):
        (model,) = models(spec(**values), splits("C", "a", "b"))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(views)), original[:, [2, 0, 1]])
        assert tuple(model.compute_output_shape((None, 8, 8, 3))) == (None, 3)
        (model,) = models(spec(**values), splits("a", "b", "c"))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(views)), original)
        (model,) = models(spec(**values | {"classes": "data"}), splits("C", "a", "b"))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(views)), original)


def test_a_built_teacher_without_labels_says_its_classes(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.safetensors", values_of(build(37)), {})
    given = {"name": "convnet", "options": {"widths": [4]}, "weights": str(tmp_path / "a.safetensors")}
    (model,) = models(spec(**given, classes="pet"), splits())
    assert tuple(model.compute_output_shape((None, 8, 8, 3))) == (None, 37)


def test_a_built_teacher_needs_weights_and_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'convnet' has no weights: give teacher\.weights, or a stored one: digits"):
        models(spec(name="convnet"), splits("a", "b"))
    with pytest.raises(UserError, match=r"'keras.applications:MobileNetV2' has no weights: give teacher\.weights"):
        models(spec(name="keras.applications:MobileNetV2"), splits("a", "b"))
    arrays = values_of(build(seed=3))
    write_arrays(tmp_path / "a.safetensors", arrays, {})
    given = {"name": "convnet", "options": {"widths": [4]}, "weights": str(tmp_path / "a.safetensors")}
    (model,) = models(spec(**given), splits("a", "b"))
    np.testing.assert_array_equal(values_of(model)["head/kernel"], arrays["head/kernel"])
    with pytest.raises(UserError, match="data without labels"):
        models(spec(**given), splits())


def test_each_teacher_is_built_for_its_own_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import keras

    sizes: list[int] = []

    def builder(num_classes: int, image_size: int) -> Any:
        sizes.append(image_size)
        inputs = keras.Input((image_size, image_size, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        return keras.Model(inputs, keras.layers.Dense(num_classes, name="logits")(pooled))

    module: Any = SimpleNamespace(build=builder)
    monkeypatch.setitem(sys.modules, "own_teachers", module)
    stored.save(tmp_path / "own", CARD, values_of(build()))
    two = [{"name": "own_teachers:build"}, {"name": "own_teachers:build"}, {"name": "own"}]
    of = DistillSpec.from_dict({"teachers": two, "views": {"size": 8, "teacher_size": [12, 8, 16]}})
    *_, built = models(of, splits("a", "b"))
    assert sizes == [12, 8]
    assert built.compute_output_shape((None, 16, 16, 3)) == (None, 2)

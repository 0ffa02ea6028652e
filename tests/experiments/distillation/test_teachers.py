"""Teachers by name: what is found, what is refused, and weights that fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.distillation import teachers
from experiments.distillation.options import RunOptions
from framework.data.source import Splits
from framework.errors import UserError
from framework.files import stored
from framework.files.checkpoints import write_arrays
from framework.files.stored import ModelCard
from framework.spec import DistillSpec, TeacherSpec

pytestmark = pytest.mark.backend
CARD = ModelCard(name="convnet", options={"widths": [4]}, classes=("a", "b"), num_classes=2, image_size=8)


@pytest.fixture(autouse=True)
def _shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "SHIPPED", tmp_path / "stored")
    monkeypatch.chdir(tmp_path)


def build(num_classes: int = 2, seed: int = 0) -> Any:
    from framework.models import catalog

    return catalog.build("convnet", {"widths": [4]}, num_classes, 8, seed)


def weights(model: Any) -> dict[str, Any]:
    import keras

    from framework.models.initial import parameters

    return {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in parameters(model).items()}


def found(name: str) -> Path | None:
    return teachers.find(TeacherSpec(name=name), Path("e"), RunOptions(), lambda line: None)


def test_a_name_a_folder_and_a_run_are_found(tmp_path: Path) -> None:
    for folder in ("stored/mine", "own", "run/student"):
        stored.save(tmp_path / folder, CARD, {})
    assert found("mine") == tmp_path / "stored/mine"
    assert found("own") == Path("own")
    assert found(str(tmp_path / "own")) == tmp_path / "own"
    assert found("run") == Path("run/student")
    assert teachers.stored_names() == ["digits", "mine"]


@pytest.mark.parametrize("name", ["convnet", "mine:build", "x.keras"])
def test_what_is_built_has_no_folder(name: str) -> None:
    assert found(name) is None


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"'digts': did you mean 'digits'\? allowed: bit, convnet, digits, mobilenet_v3; or a run's"
    ):
        found("digts")
    with pytest.raises(UserError, match=r"'empty': there is no model\.json in that folder"):
        found("empty")


def test_the_digest_is_of_names_and_values() -> None:
    assert teachers.digest(build()) == teachers.digest(build())
    assert len({teachers.digest(each) for each in (build(), build(3), build(seed=1))}) == 3


def test_fill_takes_all_but_a_head_of_other_classes(tmp_path: Path) -> None:
    arrays = weights(build(seed=1))
    stored.save(tmp_path / "folder", CARD, arrays)
    write_arrays(tmp_path / "file.safetensors", arrays, {})
    for path in (tmp_path / "folder", tmp_path / "file.safetensors"):
        same, other = build(), build(5)
        head = weights(other)["head/kernel"]
        teachers.fill(same, path, 2)
        teachers.fill(other, path, 5)
        for name, array in arrays.items():
            np.testing.assert_array_equal(weights(same)[name], array)
            if not name.startswith("head/"):
                np.testing.assert_array_equal(weights(other)[name], array)
        np.testing.assert_array_equal(weights(other)["head/kernel"], head)


def test_fill_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no stored model and no file at"):
        teachers.fill(build(), tmp_path / "nowhere", 2)
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="damaged"):
        teachers.fill(build(), tmp_path / "a.safetensors", 2)
    write_arrays(tmp_path / "b.safetensors", {"conv/kernel": np.zeros(3)}, {})
    with pytest.raises(UserError, match=r"b\.safetensors.*don't fit model"):
        teachers.fill(build(), tmp_path / "b.safetensors", 2)
    np.savez(tmp_path / "c.npz", x=np.zeros(3))
    with pytest.raises(UserError, match=r"c\.npz"):
        teachers.fill(build(), tmp_path / "c.npz", 2)


def test_a_teacher_takes_no_head_of_other_classes(tmp_path: Path) -> None:
    """A student's head may start anew, a teacher's would teach nothing."""
    write_arrays(tmp_path / "a.safetensors", weights(build(num_classes=3)), {})
    teachers.fill(build(num_classes=2), tmp_path / "a.safetensors", 2)
    with pytest.raises(UserError, match=r"head/(bias|kernel) is \(.*2.*\), the array is \(.*3.*\)"):
        teachers.fill(build(num_classes=2), tmp_path / "a.safetensors", None)


def test_dont_load_keeps_what_the_seed_drew(tmp_path: Path) -> None:
    arrays = weights(build(seed=1))
    write_arrays(tmp_path / "a.safetensors", {name: a for name, a in arrays.items() if "norm" not in name}, {})
    model, drawn = build(), weights(build())
    with pytest.raises(UserError, match=r"2 missing, e\.g\. stage1/norm1/scale.*dont_load=\[regex\] excludes some"):
        teachers.fill(model, tmp_path / "a.safetensors", 2)
    teachers.fill(model, tmp_path / "a.safetensors", 2, [".*/norm1/.*", "head/kernel"])
    for name, array in weights(model).items():
        kept = "norm1" in name or name == "head/kernel"
        np.testing.assert_array_equal(array, (drawn if kept else arrays)[name])


def test_weights_come_from_an_address(tmp_path: Path, address: str) -> None:
    from experiments.distillation.prepare import build_student

    arrays = weights(build(seed=3))
    np.savez(tmp_path / "served" / "w.npz", **arrays)
    url, sha256 = f"{address}/w.npz", stored.sha256(tmp_path / "served" / "w.npz")
    own = {"name": "convnet", "options": {"widths": [4]}, "weights": url}
    given = DistillSpec.from_dict({"teachers": [own], "student": own, "views": {"size": 8}})
    (teacher,) = teachers.build_all(given, [None], splits("a", "b"), tmp_path)
    (tmp_path / "served" / "w.npz").unlink()
    student = build_student(given.student, 2, given, tmp_path)
    for model in (teacher, student):
        np.testing.assert_array_equal(weights(model)["head/kernel"], arrays["head/kernel"])
    record = {"source": url, "sha256": sha256}
    assert teachers.weights_hashes(given, tmp_path) == {"student": record, "teacher0": record}
    assert (tmp_path / "cache" / "weights").is_dir()


def splits(*classes: str) -> Splits:
    source: Any = SimpleNamespace()
    return Splits(source, None, None, classes or None, "mine", "0")


def spec(**teacher: Any) -> DistillSpec:
    return DistillSpec.from_dict({"teachers": [teacher], "views": {"size": 8}})


def test_a_stored_teacher_comes_with_its_weights(tmp_path: Path) -> None:
    arrays = weights(build(seed=3))
    stored.save(tmp_path / "own", CARD, arrays)
    for known in (splits("a", "b"), splits()):
        (model,) = teachers.build_all(spec(name="own"), [tmp_path / "own"], known)
        for name, array in weights(model).items():
            np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("a", "b", "c"), "the teacher knows 2 classes, but data 'mine' have 3"),
        (("a", "c"), "the teacher knows no class 'c' of data 'mine'"),
    ],
)
def test_a_stored_teacher_of_other_classes_is_refused(tmp_path: Path, classes: tuple[str, ...], told: str) -> None:
    stored.save(tmp_path / "own", CARD, weights(build()))
    with pytest.raises(UserError, match=told):
        teachers.build_all(spec(name="own"), [tmp_path / "own"], splits(*classes))


def test_a_teacher_answers_in_the_data_s_order(tmp_path: Path) -> None:
    from keras import ops

    views = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    arrays = weights(build(3, seed=3))
    write_arrays(tmp_path / "a.safetensors", arrays, {})
    (tmp_path / "theirs.txt").write_text("a\nb\nc\n")
    stored.save(tmp_path / "own", dataclasses.replace(CARD, classes=("a", "b", "c"), num_classes=3), arrays)
    given = {"name": "convnet", "options": {"widths": [4]}, "weights": str(tmp_path / "a.safetensors")}
    original = np.asarray(ops.convert_to_numpy(build(3, seed=3)(views)))
    for folder, values in (
        (tmp_path / "own", {"name": "own"}),
        (None, given | {"classes": str(tmp_path / "theirs.txt")}),
    ):
        (model,) = teachers.build_all(spec(**values), [folder], splits("C", "a", "b"))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(views)), original[:, [2, 0, 1]])
        assert tuple(model.compute_output_shape((None, 8, 8, 3))) == (None, 3)
        (model,) = teachers.build_all(spec(**values), [folder], splits("a", "b", "c"))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(views)), original)
        (model,) = teachers.build_all(spec(**values | {"classes": "data"}), [folder], splits("C", "a", "b"))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(views)), original)


def test_a_built_teacher_without_labels_says_its_classes(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.safetensors", weights(build(37)), {})
    given = {"name": "convnet", "options": {"widths": [4]}, "weights": str(tmp_path / "a.safetensors")}
    (model,) = teachers.build_all(spec(**given, classes="pet"), [None], splits())
    assert tuple(model.compute_output_shape((None, 8, 8, 3))) == (None, 37)


def test_a_built_teacher_needs_weights_and_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'convnet' has no weights: give teacher\.weights, or a stored one: digits"):
        teachers.build_all(spec(name="convnet"), [None], splits("a", "b"))
    with pytest.raises(UserError, match=r"'keras.applications:MobileNetV2' has no weights: give teacher\.weights"):
        teachers.build_all(spec(name="keras.applications:MobileNetV2"), [None], splits("a", "b"))
    arrays = weights(build(seed=3))
    write_arrays(tmp_path / "a.safetensors", arrays, {})
    given = {"name": "convnet", "options": {"widths": [4]}, "weights": str(tmp_path / "a.safetensors")}
    (model,) = teachers.build_all(spec(**given), [None], splits("a", "b"))
    np.testing.assert_array_equal(weights(model)["head/kernel"], arrays["head/kernel"])
    with pytest.raises(UserError, match="data without labels"):
        teachers.build_all(spec(**given), [None], splits())


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
    stored.save(tmp_path / "own", CARD, weights(build()))
    two = [{"name": "own_teachers:build"}, {"name": "own_teachers:build"}, {"name": "own"}]
    of = DistillSpec.from_dict({"teachers": two, "views": {"size": 8, "teacher_size": [12, 8, 16]}})
    *_, built = teachers.build_all(of, [None, None, tmp_path / "own"], splits("a", "b"))
    assert sizes == [12, 8]
    assert built.compute_output_shape((None, 16, 16, 3)) == (None, 2)


def test_a_teacher_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    from experiments.recipes import RECIPES

    short = RECIPES["digits_teacher"] | {"duration": {"total_steps": 3}, "schedule": {"warmup_steps": 1}}
    monkeypatch.setitem(RECIPES, "digits_teacher", short)
    told: list[str] = []
    options = RunOptions(backend=backend)
    first = teachers.find(TeacherSpec(name="digits"), tmp_path, options, told.append)
    again = teachers.find(TeacherSpec(name="digits"), tmp_path, options, told.append)
    assert first is not None
    assert first == again
    assert told == ["training the teacher 'digits_teacher', once"]
    card = stored.load_card(first)
    assert (card.result["steps"], card.num_classes) == (3, 10)
    assert card.made_by == "python -m experiments.teacher with digits_teacher"
    assert first.name == f"digits_teacher-{card.fingerprint}"

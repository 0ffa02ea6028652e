"""A step's numerics between the batch and the engine: inputs, views, loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import log_softmax

from framework.data.hostviews import render_view
from framework.draws.views import draw
from framework.errors import UserError
from framework.models import catalog
from framework.protocols import Batch, Draws, EvalBatch
from framework.spec import DistillSpec
from framework.task import Task, mode
from tests.recorded import params, recordings

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 9, 11, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, -1])
MODEL = {"name": "convnet", "options": {"widths": [4]}}


def task_of(**changes: Any) -> Task:
    spec = DistillSpec.from_dict(
        {"student": MODEL, "teachers": [MODEL], "batch_size": 4, "views": {"size": 6}} | changes
    )
    models = [catalog.build("convnet", {"widths": [4]}, 3, 6, seed) for seed in range(1 + len(spec.teachers))]
    return Task(spec, models[0], models[1:], total_steps=10)


def batch_of(task: Task, **changes: Any) -> Batch:
    draws = draw(task.spec, 2, np.arange(4), np.zeros(4, np.int64), np.tile([9, 11], (4, 1)))
    return Batch(**{"images": IMAGES, "draws": draws, "labels": LABELS} | changes)


def views_of(task: Task, batch: Batch) -> list[np.ndarray]:
    inputs = {name: ops.convert_to_tensor(array) for name, array in task.inputs(batch).items()}
    return [np.array(ops.convert_to_numpy(view)) for view in task.views(inputs)]


def test_inputs_have_fixed_names_and_the_tasks_precision() -> None:
    task = task_of(schedule={"warmup_steps": 4})
    inputs = task.inputs(batch_of(task))
    draws = {f"student.{name}" for name in ("boxes", "flips", "extra")}
    scalars = task.scalars(2)
    assert set(inputs) == {"images", "mix"} | draws
    assert set(scalars) == {"factor", "correction1", "correction2", "count"}
    assert inputs["images"].dtype == np.uint8
    assert {value.dtype for value in (inputs["mix"], *scalars.values())} == {np.dtype(np.float32)}
    assert scalars["factor"] == 0.5
    assert inputs["mix"] == np.float32(batch_of(task).draws.mix)
    wide = task_of(precision="float64")
    widened = (wide.inputs(batch_of(task))["mix"], *wide.scalars(2).values())
    assert {value.dtype for value in widened} == {np.dtype(np.float64)}


def test_a_view_of_its_own_has_draws_of_its_own() -> None:
    task = task_of(teaching="independent")
    assert {"teacher.boxes", "teacher.flips", "teacher.extra"} <= set(task.inputs(batch_of(task)))


def test_labels_enter_only_where_they_count() -> None:
    task = task_of(loss={"task_weight": 1})
    inputs = task.inputs(batch_of(task))
    assert inputs["labels"].dtype == np.int32
    np.testing.assert_array_equal(inputs["labels"], LABELS)
    assert "labels" not in task_of().inputs(batch_of(task))


def test_an_empty_batch_is_refused() -> None:
    task = task_of()
    for missing in ("images", "draws"):
        with pytest.raises(ValueError, match="images with draws, or views"):
            task.inputs(batch_of(task, **{missing: None}))


@pytest.mark.parametrize(("teaching", "shared"), [("funmatch", True), ("consistent", True), ("independent", False)])
def test_shared_views_are_computed_once(teaching: str, shared: bool) -> None:
    task = task_of(teaching=teaching)
    inputs = {name: ops.convert_to_tensor(array) for name, array in task.inputs(batch_of(task)).items()}
    student, teacher = task.views(inputs)
    assert (student is teacher) == shared
    assert tuple(student.shape) == (4, 6, 6, 3)


@pytest.mark.parametrize("rendered", [False, True])
@pytest.mark.parametrize("sizes", [9, [9, 6]])
def test_a_shared_view_of_two_sizes_is_one_crop(sizes: Any, rendered: bool) -> None:
    """Boxes, flips, added augmentations, partners and factor are the student's: only the number of pixels differs."""
    options = {"flip": True, "augmentations": ["brightness", "grayscale"]}
    task = task_of(teachers=[MODEL, MODEL], views={"size": 6, "teacher_size": sizes} | options)
    batch = batch_of(task)
    alone = {size: views_of(task_of(views={"size": size} | options), batch)[0] for size in (6, 9)}
    if rendered:
        bare = {size: views_of(task_of(teaching="same/ic", views={"size": size}), batch)[0] for size in (6, 9)}
        views = (bare[6], *(bare[size] for size in task.spec.teacher_sizes))
        batch = Batch(views=views, draws=batch.draws, mix=batch.draws.mix)
    student, *teachers = views_of(task, batch)
    np.testing.assert_allclose(student, alone[6], rtol=0, atol=1e-6)
    for teacher, size in zip(teachers, task.spec.teacher_sizes, strict=True):
        np.testing.assert_allclose(teacher, alone[size], rtol=0, atol=1e-6)


def test_an_independent_view_of_another_size_has_its_own_crop() -> None:
    options = {"size": 6, "teacher_size": 9}
    task = task_of(teaching="ind/ic", views=options)
    batch = batch_of(task)
    teachers_own = Draws(batch.draws.teacher, batch.draws.teacher, 1.0)
    expected = views_of(task_of(teaching="same/ic", views={"size": 9}), batch_of(task, draws=teachers_own))[0]
    np.testing.assert_allclose(views_of(task, batch)[1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("teaching", ["same/rc", "fix/cc"])
def test_windows_of_the_resized_image_are_the_host_s(teaching: str) -> None:
    """Enlarged, where pixels beyond the window count."""
    task = task_of(teaching=teaching, views={"size": 24, "teacher_size": 36, "truncate": False})
    batch = batch_of(task)
    found, sizes, draws = views_of(task, batch), (24, 36), (batch.draws.student, batch.draws.teacher)
    for view, size, drawn in zip(found, sizes, draws, strict=True):
        for place, image in enumerate(IMAGES):
            flip = bool(drawn.flips[place])
            expected = render_view(image, drawn.boxes[place], size, flip, truncate=False, beyond=True)
            np.testing.assert_allclose((view[place] + 1) * 127.5, expected, rtol=0, atol=2e-3)


def test_targets_take_the_teachers_place() -> None:
    task = task_of(teaching="fix/ic_ens")
    batch = batch_of(task)
    with pytest.raises(ValueError, match="a batch carries its targets"):
        task.inputs(batch)
    targets = np.ones((4, 3), np.float32)
    inputs = task.inputs(replace(batch, targets=(targets,)))
    (found,) = task.targets({name: ops.convert_to_tensor(array) for name, array in inputs.items()})
    np.testing.assert_array_equal(ops.convert_to_numpy(found), targets)
    assert task.targets(task.shown(batch)) == []


def test_only_mixing_teachings_mix() -> None:
    task = task_of(teaching="consistent", views={"size": 6, "flip": False})
    mixing = task_of(teaching="funmatch", views={"size": 6, "flip": False})
    batch = batch_of(mixing)
    [plain, _], [mixed, _] = views_of(task, batch), views_of(mixing, batch)
    factor = batch.draws.mix
    assert 0.5 < factor < 0.99
    np.testing.assert_allclose(mixed, factor * plain + (1 - factor) * np.roll(plain, 1, axis=0), rtol=0, atol=1e-6)


def test_rendered_views_pass_as_they_are() -> None:
    task = task_of(teaching="independent")
    student, teacher = np.random.default_rng(1).uniform(-1, 1, (2, 4, 6, 6, 3)).astype(np.float32)
    found = views_of(task, Batch(views=(student, teacher)))
    np.testing.assert_array_equal(found[0], student)
    np.testing.assert_array_equal(found[1], teacher)
    shared = views_of(task, Batch(views=(student, student)))
    np.testing.assert_array_equal(shared[1], student)


def test_each_teacher_may_be_given_its_own_view() -> None:
    task = task_of(teaching="independent", teachers=[MODEL] * 4)
    student, one, other = np.random.default_rng(1).uniform(-1, 1, (3, 4, 6, 6, 3)).astype(np.float32)
    batch = Batch(views=(student, one, other, student, one))
    assert {name for name in task.shown(batch) if name.startswith("view")} == {
        "view.student",
        "view.teacher0+3",
        "view.teacher1",
    }
    for found, expected in zip(views_of(task, batch), batch.views or (), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="2 teachers' views for 4 teachers"):
        task.shown(Batch(views=(student, one, other)))


@pytest.mark.parametrize("rendered", [False, True])
@pytest.mark.parametrize("teaching", ["ind/ic", "ind/rc", "fixed", "fix/cc"])
def test_views_of_their_own_are_mixed_by_one_factor(teaching: str, rendered: bool) -> None:
    """As the authors' trainer mixes all views of a batch."""
    task, mixing = task_of(teaching=teaching), task_of(teaching=teaching, views={"size": 6, "mixup": 0.5})
    batch = batch_of(mixing)
    factor = batch.draws.mix
    assert 0.5 < factor < 0.99
    plain = views_of(task, batch)
    assert not np.allclose(*plain)
    given = Batch(views=tuple(plain), mix=factor) if rendered else batch
    for found, view in zip(views_of(mixing, given), plain, strict=True):
        np.testing.assert_allclose(found, factor * view + (1 - factor) * np.roll(view, 1, axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("teaching", ["fixed", "independent", "funmatch"])
def test_rendered_views_are_augmented_as_images_are(teaching: str) -> None:
    """And before they are mixed."""
    augmented, bare = {"size": 6, "augmentations": ["brightness", "grayscale"]}, {"size": 6}
    task = task_of(teaching=teaching, views=augmented)
    batch = batch_of(task)
    unmixed = task_of(teaching="consistent" if batch.draws.shared else teaching, views=bare)
    student, teacher = views_of(unmixed, batch)
    ready = (student, student if batch.draws.shared else teacher)
    from_images = views_of(task, batch)
    assert not np.allclose(from_images[0], views_of(task_of(teaching=teaching, views=bare), batch)[0])
    for one, other in zip(
        views_of(task, Batch(views=ready, draws=batch.draws, mix=batch.draws.mix)), from_images, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_the_constant_view_is_the_image_as_it_is() -> None:
    options = {"size": 6, "augmentations": ["brightness", "grayscale"]}
    task, plain = task_of(teaching="fixed", views=options), task_of(teaching="fixed")
    student, teacher = views_of(task, batch_of(task))
    bare_student, bare_teacher = views_of(plain, batch_of(plain))
    np.testing.assert_array_equal(teacher, bare_teacher)
    assert not np.allclose(student, bare_student)


def test_each_teacher_gets_its_own_range() -> None:
    task = task_of(teachers=[MODEL, MODEL | {"normalize": "unit"}])
    view = ops.convert_to_tensor(np.full((1, 6, 6, 3), 0.5, np.float32))
    plain, unit = (ops.convert_to_numpy(each) for each in task.teacher_views([view, view]))
    assert (plain == 0.5).all()
    assert (unit == 0.75).all()


def test_the_loss_sums_over_teachers_and_means_over_the_batch() -> None:
    task = task_of(loss={"distance": "l2"}, teachers=[MODEL, MODEL])
    student, *teachers = (np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32) for seed in range(3))
    tensors = [ops.convert_to_tensor(each) for each in (student, *teachers)]
    found = ops.convert_to_numpy(task.loss(tensors[0], tensors[1:], {}))
    assert float(found) == pytest.approx(sum(np.square(student - each).sum() for each in teachers) / 4, rel=1e-5)


TWO = recordings("distances")


@pytest.mark.parametrize("file", params([(file,) for file in TWO]))
def test_the_loss_of_two_teachers_is_the_authors(file: str) -> None:
    golden = {key.removeprefix("two/"): array for key, array in TWO[file].items() if key.startswith("two/")}
    losses = [key for key in golden if key.startswith("loss_t")]
    assert losses
    teachers = [ops.convert_to_tensor(golden[name]) for name in sorted(golden) if name.startswith("teacher")]
    for key in losses:
        task = task_of(loss={"temperature": float(key.removeprefix("loss_t"))}, teachers=[MODEL] * len(teachers))
        found = float(ops.convert_to_numpy(task.loss(ops.convert_to_tensor(golden["student"]), teachers, {})))
        assert found == pytest.approx(float(golden[key]), rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("ensemble", ["mean_logits", "mean_probs"])
def test_an_ensemble_is_one_teacher(ensemble: str) -> None:
    task = task_of(loss={"ensemble": ensemble, "temperature": 2.0}, teachers=[MODEL, MODEL])
    student, *teachers = (np.random.default_rng(seed).normal(0, 2, (4, 3)) for seed in range(3))
    each = [log_softmax(teacher / 2, 1) for teacher in teachers]
    mean = log_softmax(np.mean(teachers, 0) / 2, 1) if ensemble == "mean_logits" else np.log(np.mean(np.exp(each), 0))
    expected = 4 * (np.exp(mean) * (mean - log_softmax(student / 2, 1))).sum(1).mean()
    tensors = [ops.convert_to_tensor(array.astype(np.float32)) for array in (student, *teachers)]
    found = float(ops.convert_to_numpy(task.loss(tensors[0], tensors[1:], {})))
    assert found == pytest.approx(expected, rel=1e-5)


def test_smoothing_is_of_the_hard_distance() -> None:
    logits = [ops.convert_to_tensor(np.array([[1.0, 3.0, 0.0]], np.float32)) for _ in range(2)]
    losses = [
        float(ops.convert_to_numpy(task_of(loss={"distance": "hard"} | more).loss(logits[0], logits[1:], {})))
        for more in ({}, {"options": {"label_smoothing": 0.2}})
    ]
    log = np.array([1.0, 3.0, 0.0]) - np.log(np.exp([1.0, 3.0, 0.0]).sum())
    target = np.array([0.1, 0.8, 0.1])
    assert losses == pytest.approx([-log[1], (target * (np.log(target) - log)).sum()], rel=1e-5)


def test_names_follow_the_model_and_kernels_decay() -> None:
    task = task_of()
    names = ["stage1/conv1/kernel", "stage1/norm1/scale", "stage1/norm1/bias", "head/kernel", "head/bias"]
    assert task.names == (names, [])
    assert task.decayed == [True, False, False, True, False]


def test_an_evaluation_batch_has_fixed_names() -> None:
    batch = EvalBatch(np.zeros((4, 6, 6, 3), np.float32), LABELS, np.ones(4, np.float32))
    inputs = task_of().eval_inputs(batch)
    assert set(inputs) == {"view.student", "labels", "weights"}
    assert inputs["labels"].dtype == np.int32


def test_a_teacher_is_evaluated_at_its_size() -> None:
    task = task_of(teachers=[MODEL, MODEL], views={"size": 6, "teacher_size": [9, 6]})
    student, large = np.zeros((4, 6, 6, 3), np.float32), np.ones((4, 9, 9, 3), np.float32)
    batch = EvalBatch(student, LABELS, np.ones(4, np.float32), (large, student))
    assert [view.shape[1] for view in task.eval_views(task.eval_inputs(batch))] == [6, 9, 6]
    same = task_of(teachers=[MODEL, MODEL])
    views = same.eval_views(same.eval_inputs(EvalBatch(student, LABELS, np.ones(4, np.float32))))
    assert [view.shape[1] for view in views] == [6, 6, 6]


@pytest.mark.parametrize(("ensemble", "winner"), [("sum_kl", 2), ("mean_probs", 2), ("mean_logits", 1)])
def test_several_teachers_are_measured_as_their_ensemble_and_each(ensemble: str, winner: int) -> None:
    """Two are sure of class 2, one is very sure that it is class 1."""
    task = task_of(teachers=[MODEL] * 3, loss={"ensemble": ensemble})
    teachers = np.array([[[0, 0, 5.0]], [[0, 0, 5.0]], [[0, 20.0, 0]]], np.float32)
    inputs = {"labels": np.array([2], np.int32), "weights": np.ones(1, np.float32)}
    tensors = {name: ops.convert_to_tensor(array) for name, array in inputs.items()}
    student = ops.convert_to_tensor(np.eye(3, dtype=np.float32)[[winner]])
    found = task.eval_sums(student, [ops.convert_to_tensor(each) for each in teachers], tensors)
    values = {name: float(ops.convert_to_numpy(value)) for name, value in found.items()}
    assert values["student.agreement@1"] == 1
    assert values["teacher.accuracy"] == (winner == 2)
    assert [values[f"teacher{index}.accuracy"] for index in range(3)] == [1, 1, 0]


def test_two_teachers_are_measured_by_their_mean() -> None:
    task = task_of(teachers=[MODEL, MODEL])
    teachers = np.array([[[3.0, 0, 0]], [[0, 0, 4.0]]], np.float32)
    inputs = {"labels": np.array([2], np.int32), "weights": np.ones(1, np.float32)}
    tensors = {name: ops.convert_to_tensor(array) for name, array in inputs.items()}
    student = ops.convert_to_tensor(np.array([[0, 0, 1.0]], np.float32))
    found = task.eval_sums(student, [ops.convert_to_tensor(each) for each in teachers], tensors)
    assert float(ops.convert_to_numpy(found["teacher.accuracy"])) == 1
    assert float(ops.convert_to_numpy(found["student.agreement@1"])) == 1


def test_mode_asks_the_model() -> None:
    class Plain(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    class Trained(keras.Model):
        def call(self, x: Any, training: bool = False) -> Any:
            return x

    class Any_(keras.Model):
        def call(self, x: Any, **keywords: Any) -> Any:
            return x

    assert mode(Plain(), True) == {}
    assert mode(Trained(), True) == mode(Any_(), True) == {"training": True}
    inputs = keras.Input((2,))
    assert mode(keras.Model(inputs, keras.layers.Dropout(0.5, seed=1)(inputs)), False) == {"training": False}


def test_the_number_of_teachers_is_the_specs() -> None:
    task = task_of()
    with pytest.raises(UserError, match="the spec has 1 teachers, received 0 models"):
        Task(task.spec, task.student, [], total_steps=10)

"""A step's numerics between the batch and the engine: inputs, loss, measures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import log_softmax

from framework.errors import UserError
from framework.protocols import EvalBatch
from framework.task import Task, mode
from tests.framework.tasks import LABELS, MODEL, batch_of, task_of
from tests.recorded import params, recordings


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

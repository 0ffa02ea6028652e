"""What a step computes, and an evaluation: the loss, its slope, the views and the logits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from keras import ops
from scipy.special import log_softmax

from framework import views
from framework.data.hostviews import to_range
from framework.protocols import Batch
from tests.backends.tiny import equal


def softmax_kl(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    log_s, log_t = (log_softmax(each.astype(np.float64) / temperature, -1) for each in (student, teacher))
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


def test_the_gradient_is_the_loss_s_slope(tiny: Any) -> None:
    """By central differences along the gradient itself, in a direction where float32 can see them."""
    spec = tiny.spec()
    trainer, batch = tiny.trainer(spec), tiny.batch(tiny.spec(), 0)
    found, state = trainer.probe(batch), trainer.state()
    size = np.sqrt(sum(np.square(a).sum() for n, a in found.items() if n.startswith("gradient/")))
    losses = []
    for sign in (-1, 1):
        moved = {
            name: array + np.float32(sign * 1e-2 / size) * found.get(name.replace("student/", "gradient/"), 0)
            if name.startswith("student/")
            else array
            for name, array in state.items()
        }
        trainer.restore(moved)
        losses.append(float(trainer.probe(batch)["loss"]))
    assert (losses[1] - losses[0]) / 2e-2 == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_is_the_mean_distance(temperature: float, tiny: Any) -> None:
    spec = tiny.spec(loss={"temperature": temperature})
    found = tiny.trainer(spec).probe(tiny.batch(spec, 0))
    each = softmax_kl(found["logits.student"], found["logits.teacher0"], temperature)
    assert float(found["loss"]) == pytest.approx(each.mean(), rel=1e-5)


def test_two_teachers_add_up(tiny: Any) -> None:
    one = tiny.spec().teachers[0]
    spec = dataclasses.replace(tiny.spec(), teachers=(one, one))
    found = tiny.trainer(spec).probe(tiny.batch(spec, 0))
    student, first, second = (found[f"logits.{who}"] for who in ("student", "teacher0", "teacher1"))
    assert not np.allclose(first, second)
    expected = (softmax_kl(student, first, 1.0) + softmax_kl(student, second, 1.0)).mean()
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)


def test_labels_alone_with_mixup(tiny: Any) -> None:
    spec = tiny.spec(teachers=[], teaching="labels", loss={"task_weight": 0.5}, views={"size": 8, "mixup": 1.0})
    trainer, batch = tiny.trainer(spec), tiny.batch(spec, 0)
    found = trainer.probe(batch)
    log, mix = log_softmax(found["logits.student"].astype(np.float64), -1), batch.draws.mix
    assert 0.5 < mix < 0.99
    rows = np.arange(8)
    expected = -mix * log[rows, batch.labels] - (1 - mix) * log[rows, np.roll(batch.labels, 1)]
    assert float(found["loss"]) == pytest.approx(0.5 * expected.mean(), rel=1e-5)
    assert set(trainer.evaluate(tiny.eval_batches())) == {"examples", "student.accuracy", "student.loss"}


def test_labels_alone_train(tiny: Any, foreign: dict[str, Any]) -> None:
    student = foreign | {"options": {"rate": 0.0}}
    options = {"student": student, "views": {"size": 8, "mixup": 0.2}, "optimizer": {"lr": 0.05}}
    spec = tiny.spec(teachers=[], teaching="labels", loss={"task_weight": 1}, **options)
    losses = tiny.run(tiny.trainer(spec), spec, 60)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_labels_beside_a_teacher(tiny: Any) -> None:
    spec = tiny.spec(teaching="consistent", loss={"task_weight": 2.0})
    batch = tiny.batch(spec, 0)
    found = tiny.trainer(spec).probe(batch)
    task = -log_softmax(found["logits.student"].astype(np.float64), -1)[np.arange(8), batch.labels]
    distance = softmax_kl(found["logits.student"], found["logits.teacher0"], 1.0)
    assert float(found["loss"]) == pytest.approx((distance + 2 * task).mean(), rel=1e-5)


def rendered(batch: Batch, spec: Any) -> Batch:
    """The same batch with its views rendered beforehand."""

    def view(draws: Any) -> np.ndarray:
        arrays = (batch.images, draws.boxes, draws.flips, draws.extra)
        tensors = [ops.convert_to_tensor(each) for each in arrays]
        return np.array(ops.convert_to_numpy(views.render(*tensors, spec.views, "float32")))

    student = view(batch.draws.student)
    teacher = student if batch.draws.shared else view(batch.draws.teacher)
    return Batch(views=(student, teacher), mix=batch.draws.mix, labels=batch.labels)


@pytest.mark.parametrize("teaching", ["fixed", "independent", "consistent", "funmatch"])
def test_rendered_views_are_as_good_as_images(teaching: str, tiny: Any) -> None:
    spec = tiny.spec(teaching=teaching)
    trainer, batch = tiny.trainer(spec), tiny.batch(spec, 0)
    from_images, from_views = trainer.probe(batch), trainer.probe(rendered(batch, spec))
    for name, array in from_images.items():
        np.testing.assert_allclose(from_views[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
    shared = teaching in ("consistent", "funmatch")
    assert np.array_equal(from_images["view.student"], from_images["view.teacher"]) == shared
    trainer.step(rendered(batch, spec))
    trainer.step(batch)
    assert trainer.steps_done == 2


def test_a_teacher_s_range_is_applied_after_mixing(tiny: Any, value_of: Any) -> None:
    teacher = {"name": "convnet", "options": {"widths": [8]}, "normalize": "imagenet"}
    spec = tiny.spec(teachers=[teacher])
    model = tiny.model(spec.teachers[0], seed=100)
    found = tiny.trainer(spec).probe(tiny.batch(spec, 0))
    view = views.normalize(ops.convert_to_tensor(found["view.teacher"]), "imagenet")
    np.testing.assert_allclose(found["logits.teacher0"], value_of(model(view)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [1, 2])
def test_whole_levels_and_their_range_are_one_view(parts: int, tiny: Any) -> None:
    """To the last bit, compiled as the engine does it: a quarter of the bytes is sent for nothing else."""
    spec = tiny.spec()
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    found = []
    for view in (levels, to_range(levels.astype(np.float32))):
        trainer = tiny.trainer(spec, grad_accum_steps=parts)
        batch = Batch(views=(view, view), mix=0.75)
        found.append({**trainer.probe(batch), "loss after": np.float32(trainer.step(batch)["loss"]), **trainer.state()})
    equal(*found)


def test_evaluation_equals_the_models_own_logits(tiny: Any, value_of: Any) -> None:
    spec = tiny.spec()
    trainer, batches = tiny.trainer(spec), tiny.eval_batches()
    student, teacher = tiny.model(spec.student), tiny.model(spec.teachers[0], seed=100)
    keep = np.concatenate([batch.mask for batch in batches]) > 0
    logits = [
        np.concatenate([value_of(model(ops.convert_to_tensor(batch.views))) for batch in batches])[keep]
        for model in (student, teacher)
    ]
    labels = np.concatenate([batch.labels for batch in batches])[keep]
    named = labels >= 0
    before = trainer.state()
    found = trainer.evaluate(iter(batches))
    equal(trainer.state(), before)
    assert found["examples"] == keep.sum() == 18
    assert found["student.accuracy"] == pytest.approx((logits[0].argmax(1) == labels)[named].mean())
    assert found["teacher.accuracy"] == pytest.approx((logits[1].argmax(1) == labels)[named].mean())
    assert found["student.agreement@1"] == pytest.approx((logits[0].argmax(1) == logits[1].argmax(1)).mean())
    assert found["student.agreement@5"] == 1
    assert found["student.kl"] == pytest.approx(softmax_kl(*logits, 1.0).mean(), rel=1e-4)
    losses = -log_softmax(logits[0].astype(np.float64), -1)[named, labels[named]]
    assert found["student.loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert all(type(value) is float for value in found.values())


def test_evaluation_of_a_foreign_student_is_deterministic(tiny: Any, foreign: dict[str, Any]) -> None:
    spec = tiny.spec(student=foreign)
    trainer = tiny.trainer(spec)
    tiny.run(trainer, spec, 2)
    before = trainer.state()
    assert trainer.evaluate(tiny.eval_batches()) == trainer.evaluate(tiny.eval_batches())
    equal(trainer.state(), before)

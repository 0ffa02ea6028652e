"""What every trainer promises (`framework.protocols.Trainer`), on the engine under test."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import log_softmax

from backends.base import Settings
from framework import views
from framework.data.hostviews import to_range
from framework.errors import OutOfMemory, UserError
from framework.protocols import Batch


def equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype, name
        np.testing.assert_array_equal(array.astype(np.float64), other[name].astype(np.float64), err_msg=name)


def softmax_kl(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    log_s, log_t = (log_softmax(each.astype(np.float64) / temperature, -1) for each in (student, teacher))
    return temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum(-1)


@contextmanager
def configured(tiny: Any, precision: Any) -> Iterator[Any]:
    """The CPU in another precision, for a while."""
    try:
        yield tiny.backend.configure(Settings("cpu", precision=precision))
    finally:
        tiny.backend.configure(Settings("cpu"))


STUDENTS = pytest.mark.parametrize("kind", ["convnet", "foreign", "bfloat16 moments", "sgd"])


@pytest.fixture
def problem(tiny: Any, foreign: dict[str, Any]) -> Callable[[str], Any]:
    """The spec of each kind of state that a trainer has."""
    changes = {
        "convnet": {},
        "foreign": {"student": foreign},
        "bfloat16 moments": {"optimizer": {"lr": 0.01, "moment_dtype": "bfloat16"}},
        "sgd": {"optimizer": {"name": "sgd", "lr": 0.1}},
    }
    return lambda kind: tiny.spec(**changes[kind])


@STUDENTS
def test_the_loss_goes_down(kind: str, tiny: Any, problem: Any) -> None:
    spec = problem(kind)
    losses = tiny.run(tiny.trainer(spec), spec, 60)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


@STUDENTS
def test_a_restored_run_is_the_uninterrupted_one(kind: str, tiny: Any, problem: Any) -> None:
    spec = problem(kind)
    one = tiny.trainer(spec)
    tiny.run(one, spec, 4)
    state = one.state()
    kept = {name: array.copy() for name, array in state.items()}
    losses, end = tiny.run(one, spec, 4), one.state()
    equal(state, kept)  # the arrays are the caller's: later steps don't reach them
    other = tiny.trainer(spec, seed=3)
    tiny.run(other, spec, 1)
    other.restore(state)
    equal(other.state(), state)
    assert other.steps_done == 4
    assert tiny.run(other, spec, 4) == losses
    equal(other.state(), end)


@STUDENTS
def test_the_state_has_all_that_moves_under_common_names(kind: str, tiny: Any, problem: Any) -> None:
    spec = problem(kind)
    trainer = tiny.trainer(spec)
    first = trainer.state()
    tiny.run(trainer, spec, 1)
    last = trainer.state()
    assert first["step"] == 0
    assert last["step"] == 1
    assert first["step"].dtype == np.int64
    assert list(first) == list(last)
    unmoved = {name for name in first if np.array_equal(first[name], last[name])}
    assert unmoved == set()
    moments = ("m",) if kind == "sgd" else ("m", "v")
    trainable = [name.removeprefix("optimizer/m/") for name in first if name.startswith("optimizer/m/")]
    for name in trainable:
        for moment in moments:
            assert first[f"optimizer/{moment}/{name}"].shape == first[f"student/{name}"].shape
    if kind == "convnet":
        assert trainable == [
            "stage1/conv1/kernel",
            "stage1/norm1/scale",
            "stage1/norm1/bias",
            "head/kernel",
            "head/bias",
        ]
    if kind == "bfloat16 moments":
        assert {first[f"optimizer/m/{name}"].dtype.name for name in trainable} == {"bfloat16"}


@STUDENTS
def test_a_probe_changes_nothing(kind: str, tiny: Any, problem: Any) -> None:
    spec = problem(kind)
    probed, plain = tiny.trainer(spec), tiny.trainer(spec)
    for _ in range(2):
        before = probed.state()
        found = probed.probe(tiny.batch(spec, probed.steps_done))
        equal(probed.state(), before)
        [loss] = tiny.run(probed, spec, 1)
        np.testing.assert_allclose(found["loss"], loss, rtol=1e-5)
    tiny.run(plain, spec, 2)
    equal(probed.state(), plain.state())


def test_a_probe_names_what_a_step_computes(tiny: Any) -> None:
    spec = tiny.spec(teaching="independent")
    trainer = tiny.trainer(spec)
    found = trainer.probe(tiny.batch(spec, 0))
    gradients = {name for name in found if name.startswith("gradient/")}
    moments = {name for name in trainer.state() if name.startswith("optimizer/m/")}
    assert {name.removeprefix("gradient/") for name in gradients} == {n.removeprefix("optimizer/m/") for n in moments}
    assert set(found) - gradients == {"loss", "view.student", "view.teacher", "logits.student", "logits.teacher0"}
    assert all(isinstance(array, np.ndarray) for array in found.values())
    assert found["view.student"].shape == (8, 8, 8, 3)
    assert not np.array_equal(found["view.student"], found["view.teacher"])
    norm = np.sqrt(sum(np.square(found[name]).sum() for name in gradients))
    assert float(trainer.step(tiny.batch(spec, 0))["grad_norm"]) == pytest.approx(norm, rel=1e-4)


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


def test_the_teacher_never_changes(tiny: Any, foreign: dict[str, Any], value_of: Any) -> None:
    """Neither by its gradient, nor by BatchNorm's statistics, nor by Dropout: it is called for inference."""
    spec = tiny.spec(teachers=[foreign])
    teacher, student = tiny.model(spec.teachers[0], seed=1), tiny.model(spec.student)
    before = [value_of(variable) for variable in teacher.variables]
    trainer = tiny.backend.compile(spec, student, [teacher], total_steps=9, device=tiny.device)
    logits = [trainer.probe(tiny.batch(spec, 0))["logits.teacher0"] for _ in range(2)]
    tiny.run(trainer, spec, 3)
    trainer.evaluate(tiny.eval_batches())
    for old, variable in zip(before, teacher.variables, strict=True):
        np.testing.assert_array_equal(value_of(variable), old)
    np.testing.assert_array_equal(*logits)
    assert not any("teacher" in name for name in trainer.state())
    found = trainer.probe(tiny.batch(spec, 0))
    inferred = teacher(ops.convert_to_tensor(found["view.teacher"]), training=False)
    np.testing.assert_allclose(value_of(inferred), found["logits.teacher0"], rtol=1e-4, atol=1e-5)


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


def test_metrics_stay_on_the_device(tiny: Any) -> None:
    """The engine's own tensors without a graph behind them: nobody has waited for their values."""
    spec = tiny.spec()
    metrics = tiny.trainer(spec).step(tiny.batch(spec, 0))
    assert set(metrics) == {"loss", "grad_norm"}
    for value in metrics.values():
        assert keras.ops.is_tensor(value)
        assert tuple(value.shape) == ()
        assert not getattr(value, "requires_grad", False)
        assert float(value) > 0


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


@pytest.mark.parametrize("precision", ["bfloat16", "mixed_bfloat16"])
def test_half_precision_trains_and_resumes(precision: str, tiny: Any) -> None:
    with configured(tiny, precision) as device:
        spec = tiny.spec(precision=precision)
        one, other = (tiny.trainer(spec, seed=seed, device=device) for seed in (0, 3))
        losses = tiny.run(one, spec, 30)
        state = one.state()
        stored = {array.dtype.name for name, array in state.items() if name.startswith("student/")}
        assert stored == {"bfloat16" if precision == "bfloat16" else "float32"}
        assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
        other.restore(state)
        equal(other.state(), state)
        assert tiny.run(other, spec, 2) == tiny.run(one, spec, 2)
        equal(other.state(), one.state())


def test_a_state_that_does_not_fit_is_refused(tiny: Any) -> None:
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    state = trainer.state()
    without = {name: array for name, array in state.items() if name != "optimizer/m/head/bias"}
    with pytest.raises(UserError, match="the state has no 'optimizer/m/head/bias'"):
        trainer.restore(without)
    with pytest.raises(UserError, match=r"student/head/bias is \(5,\) in the state and \(4,\) in the student"):
        trainer.restore(state | {"student/head/bias": np.zeros(5, np.float32)})
    equal(trainer.state(), state)


def test_mistakes_are_found_before_anything_is_compiled(tiny: Any) -> None:
    spec = tiny.spec()
    student, teacher = tiny.model(spec.student), tiny.model(spec.teachers[0])

    def compiled(spec: Any, teachers: Any, total_steps: int = 10) -> Any:
        return tiny.backend.compile(spec, student, teachers, total_steps=total_steps, device=tiny.device)

    with pytest.raises(UserError, match="1 teachers, received 2"):
        compiled(spec, [teacher, teacher])
    with pytest.raises(UserError, match=r"loss\.distance = 'kll': did you mean 'kl'"):
        compiled(tiny.spec(loss={"distance": "kll"}), [teacher])
    with pytest.raises(UserError, match=r"optimizer\.name"):
        compiled(tiny.spec(optimizer={"name": "adam"}), [teacher])
    with pytest.raises(UserError, match=r"schedule\.warmup_steps = 10"):
        compiled(tiny.spec(schedule={"warmup_steps": 10}), [teacher])
    with pytest.raises(UserError, match=r"views\.augmentations = 'brigthness': did you mean 'brightness'"):
        compiled(tiny.spec(views={"size": 8, "augmentations": ["brigthness"]}), [teacher])


def test_float64_runs_in_float64(backend: str) -> None:
    """In a process of its own: Keras's promotion table is changed for good."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.backends.float64_run", backend],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["dtypes"]) == {"float64"}
    # Central differences in float64 know the slope to 1e-8; a detour through float32 would leave 1e-3.
    assert found["slope"] == pytest.approx(found["norm"], rel=1e-7)
    assert found["resumed"]
    # Rounding; mixing within the parts instead of within the batch would be wrong in the first digit.
    assert found["accumulated"] < 1e-12


def test_parts_that_would_make_another_student_are_refused(tiny: Any, foreign: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"grad_accum_steps = 3: allowed are divisors of batch_size: 1, 2, 4, 8"):
        tiny.trainer(tiny.spec(), grad_accum_steps=3)
    with pytest.raises(UserError, match=r"grad_accum_steps = 2: the student draws numbers of its own"):
        tiny.trainer(tiny.spec(student=foreign), grad_accum_steps=2)
    with pytest.raises(UserError, match=r"grad_accum_steps = 2: .*moving_mean.*batch_norm_size=4"):
        tiny.trainer(tiny.spec(student={"name": "tests.backends.tiny:normed"}), grad_accum_steps=2)


@pytest.mark.parametrize("ours", [True, False])
def test_statistics_of_parts_are_averaged_in_one_step(ours: bool, tiny: Any) -> None:
    states = []
    for size in (None, 4):
        student = {"name": "tests.backends.tiny:normed", "options": {"ours": ours}}
        spec = tiny.spec(student=student, batch_norm_size=size)
        trainer = tiny.trainer(spec)
        trainer.step(tiny.batch(spec, 0))
        states.append(trainer.state())
    means, variances = (
        [name for name in states[0] if name.endswith(end)] for end in ("moving_mean", "moving_variance")
    )
    whole, parts = states
    # The mean of the parts' means is the batch's; they vary less than it does.
    np.testing.assert_allclose(parts[means[0]], whole[means[0]], rtol=1e-4, atol=1e-6)
    assert np.all(parts[variances[0]] <= whole[variances[0]] + 1e-6)
    assert np.abs(parts[variances[0]] - whole[variances[0]]).max() > 1e-5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_parts_train_as_the_whole_does(precision: str, tiny: Any) -> None:
    with configured(tiny, precision) as device:
        spec = tiny.spec(precision=precision)
        whole, parts = (tiny.trainer(spec, device=device, grad_accum_steps=number) for number in (1, 2))
        np.testing.assert_allclose(
            *(tiny.run(each, spec, 3) for each in (whole, parts)), rtol=1e-5 if precision == "float32" else 0.05
        )


def test_too_little_memory_is_told_apart(engine: Any, tiny: Any, monkeypatch: Any) -> None:
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    tiny.run(trainer, spec, 2)
    before = trainer.state()

    def loss() -> float:
        return float(trainer.step(tiny.batch(spec, 2))["loss"])

    def failing(update: Callable[..., Any]) -> Exception:
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "_update", update)
            with pytest.raises(Exception, match="") as caught:
                loss()
        return trainer.explained(caught.value)

    found = failing(lambda *inputs: (None, {"loss": ops.sort(ops.zeros((2**46,)))[0]}))  # 281 TB
    assert isinstance(found, OutOfMemory)
    assert found.intact == (engine.name != "tensorflow")
    assert not isinstance(failing(lambda *inputs: ops.reshape(ops.zeros((3,)), (2,))), OutOfMemory)
    assert trainer.steps_done == 2
    equal(trainer.state(), before)


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

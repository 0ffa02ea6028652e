"""What every trainer promises (`framework.protocols.Trainer`), on the backend under test: state, resuming, probes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from backends.base import Settings
from framework.errors import OutOfMemory, UserError
from tests.backends.tiny import equal


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

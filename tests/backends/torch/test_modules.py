"""A `torch.nn.Module` by import path, as student and as teacher; the modules are those of `nets.txt`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from backends.torch.modules import TorchModel
from framework.errors import UserError
from framework.models import catalog, initial
from framework.models.admission import Candidate
from tests.backends import contract
from tests.backends.tiny import CLASSES, SIZE


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Path(__file__).with_name("nets.txt"), tmp_path / "torch_nets.py")
    monkeypatch.syspath_prepend(str(tmp_path))


def build(function: str = "build", **options: Any) -> Any:
    return catalog.build(f"torch_nets:{function}", options, CLASSES, SIZE, 7)


def views() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (5, SIZE, SIZE, 3)).astype(np.float32)


def test_it_learns_and_then_teaches(tiny: Any, tmp_path: Path) -> None:
    own = {"name": "torch_nets:build", "options": {"rate": 0.05}}
    spec = tiny.spec(student=own, teachers=[own])
    weights = contract.learns(tiny, spec)
    contract.teaches_when_stored(tiny, spec, weights, tmp_path / "stored")


def test_names_are_the_modules(tiny: Any) -> None:
    model = build()
    names = list(initial.parameters(model))
    (module,) = model._held
    assert set(names) == {*(name.replace(".", "/") for name in module.state_dict()), "draws"}
    spec = tiny.spec(student={"name": "torch_nets:build"})
    trainer = tiny.trainer(spec, student=model)
    assert trainer.names.params == ["body/0/weight", "body/1/weight", "body/1/bias", "head/weight", "head/bias"]
    assert trainer.task.decayed == [True, False, False, True, False]
    # They are the module's own tensors, not copies: what one does, the other sees.
    for name, variable in initial.parameters(model).items():
        if name != "draws":
            assert variable.value.data_ptr() == module.state_dict()[name.replace("/", ".")].data_ptr()


def test_it_sees_channels_first_and_its_mode() -> None:
    model = build(rate=0.5)
    (module,) = model._held
    given = torch.from_numpy(views())
    expected = module.eval()(given.permute(0, 3, 1, 2))
    torch.testing.assert_close(model(given), expected)
    assert not torch.equal(model(given, training=True), expected)
    assert module.training
    torch.testing.assert_close(model(given, training=False)[:2], model(given[:2], training=False))


def test_dropout_follows_from_the_seed_and_the_count() -> None:
    given = torch.from_numpy(views())
    torch.manual_seed(1)
    first, second = build(rate=0.5), build(rate=0.5)
    ones = [first(given, training=True) for _ in range(2)]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    others = [second(given, training=True) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))
    assert not torch.equal(*ones)


def test_frozen_parameters_stay(tiny: Any) -> None:
    spec = tiny.spec(student={"name": "torch_nets:frozen"})
    trainer = tiny.trainer(spec)
    before = trainer.state()
    tiny.run(trainer, spec, 2)
    assert np.array_equal(trainer.state()["student/body/0/weight"], before["student/body/0/weight"])
    assert trainer.names.params == ["head/weight", "head/bias"]


@pytest.mark.parametrize(
    ("policy", "dtypes"),
    [("float64", (torch.float64, torch.float64)), ("mixed_bfloat16", (torch.float32, torch.bfloat16))],
)
def test_arithmetic_is_the_policys(policy: str, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build()
        logits = model(torch.from_numpy(views()).to(torch.float64))
    finally:
        keras.config.set_dtype_policy(before)
    assert (model._held[0].head.weight.dtype, logits.dtype) == dtypes


def test_buffers_that_are_assigned_anew_are_learned_and_stored(tiny: Any, tmp_path: Path) -> None:
    spec = tiny.spec(student={"name": "torch_nets:Running"}, teachers=[{"name": "torch_nets:Running"}])
    trainer = tiny.trainer(spec)
    admitted = Candidate(trainer.task.student, "the student", SIZE)
    admitted.admit_student()
    assert not trainer.state()["student/mean"].any()
    tiny.run(trainer, spec, 3)
    state = trainer.state()
    assert np.abs(state["student/mean"]).max() > 0
    (module,) = trainer.task.student._held
    np.testing.assert_array_equal(state["student/mean"], module.mean.detach().numpy())
    trainer.restore({**state, "student/mean": np.ones_like(state["student/mean"])})
    assert (module.mean == 1).all()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("Stray", "keeps something from training that is no parameter and no buffer"),
        ("Fleeting", "keeps something from training that is no parameter and no buffer"),
        ("Anew", "makes 'head.bias' anew in training"),
        ("Detached", "no gradient leads from its logits to its parameters"),
    ],
)
def test_state_that_would_be_lost_is_refused(function: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Candidate(build(function), "the student", SIZE).admit_student()


@pytest.mark.parametrize("function", ["Tied", "Kept", "Unused", "Flat", "Writing", "spectral"])
def test_what_is_right_is_admitted_and_learns(function: str, tiny: Any) -> None:
    model = build(function)
    Candidate(model, "the student", SIZE).admit_student()
    Candidate(model, "the teacher", SIZE).admit_teacher()
    spec = tiny.spec(student={"name": f"torch_nets:{function}"})
    trainer = tiny.trainer(spec)
    before = trainer.state()
    tiny.run(trainer, spec, 3)
    after = trainer.state()
    assert any(name.startswith("student/") and not np.array_equal(after[name], before[name]) for name in before)


def test_views_stay_as_they_are() -> None:
    """Teachers and students see the same ones."""
    shown = torch.from_numpy(views())
    before = shown.clone()
    build("Writing")(shown)
    assert torch.equal(shown, before)


def test_what_moves_keeps_its_tensors() -> None:
    """On the way to an accelerator PyTorch puts other tensors in the place of buffers."""
    model = build()
    model._apply(lambda tensor: tensor.clone())
    (module,) = model._held
    for name, variable in initial.parameters(model).items():
        if name != "draws":
            assert variable.value.data_ptr() == module.state_dict()[name.replace("/", ".")].data_ptr(), name


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("softmax", "gives probabilities, expected logits"),
        ("maps", r"gives \[4, 4, 6, 6\] for 4 images, expected one tensor of logits"),
        ("Listed", "keeps layers or parameters in 'heads', a list, where PyTorch doesn't see them"),
        ("meta", r"'head.weight' has no values, it is on the device 'meta'"),
        ("Two", r"doesn't take views \[B, 3, 8, 8\]: Two.forward\(\) missing 1 required positional argument: 'y'"),
        ("leaves", r"model 'torch_nets:leaves' fails: SystemExit: 3 \(torch_nets.py, line \d+\)"),
        ("lazy", "has no shape yet: call the module once"),
        ("sized", r"doesn't take views \[B, 3, 8, 8\]: .*views.teacher_size=SIZE.*wrong image height"),
        ("four", r"takes 4 images, but not one: it must take any number"),
        ("eight", r"takes 8 images at a time and no other number: it must take any number"),
        ("squeezed", r"gives \[4\] for one image: it must take any number"),
        ("quantised", r"'head._packed_params._packed_params' is quantised, .*: give the network as it was before"),
        ("exported", "is what torch.export made of one, and knows one mode: give the module itself"),
        (
            "nhwc",
            r"doesn't take views \[B, 3, 8, 8\]: views have the 3 channels red, green and blue; .*to have 8 channels",
        ),
    ],
)
def test_mistakes_are_explained(function: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(function)


def test_a_module_is_handed_over_as_teacher_and_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_nets import Running

    from experiments import distill

    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    spec = {
        "data": {"name": "digits", "test": None},
        "teachers": [{"min_accuracy": 0.0}],
        "views": {"size": SIZE},
        "duration": {"total_steps": 2},
        "evaluation": {"num_times": 0, "train_subset": 0},
    }
    student, teacher = Running(10, SIZE), Running(10, SIZE)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    trained, result = distill(spec, student=student, teacher=teacher, folder=tmp_path / "run", quiet=True)
    assert trained is student
    assert result["steps"] == 2
    assert student.mean.abs().max() > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    stored = load_file(tmp_path / "run/student/weights.safetensors")
    np.testing.assert_array_equal(stored["mean"], student.mean.detach().numpy())
    again = Running(10, SIZE)
    again.load_state_dict({name.replace("/", "."): torch.tensor(a) for name, a in stored.items() if name != "draws"})


def test_another_number_of_classes_is_refused() -> None:
    model = TorchModel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)), SIZE, 0)
    assert model.compute_output_shape((None, SIZE, SIZE, 3)) == (None, 3)

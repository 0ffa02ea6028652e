"""The spec: it survives JSON, and what can't be is refused with what is allowed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framework.errors import UserError
from framework.spec import (
    DistillSpec,
    LossSpec,
    ModelSpec,
    ScheduleSpec,
    ViewsSpec,
)
from tests.framework.spec.leaves import DEFAULT, Path_, leaves, replaced


def test_to_dict_owns_its_values() -> None:
    spec = DistillSpec(student=ModelSpec(options={"widths": [8]}))
    spec.to_dict()["student"]["options"]["widths"].append(16)
    assert spec.student.options == {"widths": [8]}


NUMBER = st.floats(1e-3, 1.0)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "student": st.fixed_dictionaries({}, optional={"options": st.dictionaries(st.text(), st.integers() | NUMBER)}),
        "teaching": st.sampled_from(["fixed", "independent", "consistent", "funmatch"]),
        "views": st.fixed_dictionaries(
            {}, optional={"size": st.integers(1, 4096), "area": st.tuples(NUMBER, st.just(1)), "flip": st.booleans()}
        ),
        "loss": st.fixed_dictionaries({}, optional={"temperature": st.integers(1, 9) | NUMBER}),
        "optimizer": st.fixed_dictionaries({}, optional={"lr": NUMBER, "clip_norm": st.none() | NUMBER}),
        "duration": st.one_of(
            st.fixed_dictionaries({"total_epochs": NUMBER}),
            st.fixed_dictionaries({"total_steps": st.integers(1, 10**15)}),
        ),
        "batch_size": st.integers(2, 2**20),
        "seed": st.integers(0, 2**63 - 1),
    },
)


@given(SPECS)
def test_a_spec_survives_json(value: dict[str, Any]) -> None:
    spec = DistillSpec.from_dict(value)
    again = DistillSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.fingerprint == spec.fingerprint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)
NODES = sorted({path[:depth] for path in leaves(DEFAULT) for depth in range(len(path) + 1)}, key=str)


@settings(max_examples=600)
@given(path=st.sampled_from(NODES), value=JSON, teaching=st.sampled_from(["funmatch", "labels"]))
@example(path=("optimizer", "lr"), value=10**400, teaching="funmatch")
@example(path=("student", "options"), value={"rate": float("nan")}, teaching="funmatch")
@example(path=("student", "options"), value={"deep": [{"er": float("inf")}]}, teaching="funmatch")
@example(path=("duration",), value={"total_epochs": 1e308}, teaching="funmatch")
def test_any_json_gives_a_usable_spec_or_a_user_error(path: Path_, value: Any, teaching: str) -> None:
    try:
        spec = DistillSpec.from_dict(replaced(DEFAULT | {"teaching": teaching}, path, value))
    except UserError:
        return
    assert DistillSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.fingerprint
    assert spec.duration.steps(1000, spec.batch_size) >= 1


@given(st.dictionaries(st.text(), JSON))
def test_any_dict_gives_a_spec_or_a_user_error(value: dict[str, Any]) -> None:
    if value:
        with pytest.raises(UserError):
            DistillSpec.from_dict(value)


@pytest.mark.parametrize("path", [path for path in leaves(DEFAULT) if path[-1] != "options"], ids=str)
def test_an_unknown_key_names_the_near_one(path: Path_) -> None:
    parent = DEFAULT
    for key in path[:-1]:
        parent = parent[key]
    value = replaced(DEFAULT, path[:-1], {**parent, f"{path[-1]}x": 1})
    with pytest.raises(UserError, match=f"unknown key .*{path[-1]}x.*did you mean '{path[-1]}'") as caught:
        DistillSpec.from_dict(value)
    for key in path[:-1]:
        assert str(key) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": -3}, "batch_size = -3: must be 1 to 1048576"),
        ({"batch_size": 1}, "batch_size = 1: mixing needs two"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"precision": "float16"}, "precision = 'float16': did you mean 'bfloat16'"),
        ({"teaching": "funmach"}, "teaching = 'funmach': did you mean 'funmatch'"),
        ({"teaching": "labels"}, "teaching=labels takes no teacher: drop teacher="),
        ({"teachers": []}, "teaching = 'funmatch' needs a teacher"),
        ({"teachers": [], "teaching": "labels"}, "loss.task_weight=1"),
        ({"loss": {"task_weight": 1}, "data": {"labels": None}}, "needs labels"),
        ({"loss": {"temperature": 0}}, "loss.temperature = 0.0"),
        ({"loss": {"task_weight": -1}}, "loss.task_weight = -1.0"),
        ({"teachers": [{"min_accuracy": 90}]}, "teacher.min_accuracy = 90.0: must be a share"),
        ({"teachers": [{"normalize": "imagnet"}]}, r"teachers\[0\].normalize"),
        ({"views": {"mixup": 0}}, "views.mixup = 0: use teaching=consistent"),
        ({"views": {"mixup": -1}}, "views.mixup = -1.0"),
        ({"views": {"size": 0}}, "views.size = 0"),
        ({"views": {"size": 4097}}, "views.size = 4097"),
        ({"views": {"area": [0, 1]}}, "views.area"),
        ({"views": {"area": [0.5, 0.4]}}, "views.area"),
        ({"views": {"area": [0.5, 1.1]}}, "views.area"),
        ({"views": {"aspect": [0, 1]}}, "views.aspect"),
        ({"views": {"aspect": [2, 1]}}, "views.aspect"),
        ({"views": {"teacher_size": 0}}, "views.teacher_size = 0"),
        ({"views": {"teacher_size": [24, 5000]}}, r"views.teacher_size = \(24, 5000\): must be 1 to 4096"),
        (
            {"views": {"teacher_size": [24, 32]}},
            r"teacher_size = \[24, 32\]: expected one number, or one for each of 1",
        ),
        ({"views": {"resize": 23}}, "views.resize = 23: must be views.size = 24 or more"),
        ({"views": {"target_crops": 0}}, "views.target_crops = 0"),
        ({"teaching": "fix/rs", "views": {"augmentations": ["brightness"]}}, "shows images as they are"),
        ({"teaching": "same/rc", "views": {"mixup": 0.5}}, "use teaching=funmatch"),
        ({"loss": {"options": 3}}, "loss.options = 3: expected keys and values"),
        ({"loss": {"label_smoothing": 0.1, "options": 3}}, "loss.options = 3: expected keys and values"),
        ({"loss": {"ensemble": "mean"}}, "loss.ensemble = 'mean': did you mean"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr"),
        ({"optimizer": {"lrr": 1}}, "unknown key 'optimizer.lrr': did you mean 'lr'"),
        ({"optimizer": {"weight_decay": -1}}, "optimizer.weight_decay"),
        ({"optimizer": {"b1": 1}}, "optimizer.b1"),
        ({"optimizer": {"b2": 1}}, "optimizer.b2"),
        ({"optimizer": {"epsilon": 0}}, "optimizer.epsilon"),
        ({"optimizer": {"clip_norm": 0}}, "optimizer.clip_norm"),
        ({"schedule": {"warmup_steps": -1}}, "schedule.warmup_steps"),
        ({"duration": {}}, "exactly one"),
        ({"duration": {"total_steps": 1, "total_epochs": 1}}, "exactly one"),
        ({"duration": {"total_steps": 0}}, "duration.total_steps = 0"),
        ({"evaluation": {"num_times": -1}}, "evaluation.num_times"),
        ({"evaluation": {"train_subset": -1}}, "evaluation.train_subset"),
        ({"evaluation": {"resize": 0}}, "evaluation.resize"),
        ({"evaluation": {"batch_size": 0}}, "evaluation.batch_size"),
        ({"data": "digits"}, "data = 'digits': expected keys and values"),
    ],
)
def test_mistakes_are_refused_with_what_is_allowed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DistillSpec.from_dict(change)


def test_labels_alone_make_a_spec() -> None:
    spec = DistillSpec(teachers=(), teaching="labels", loss=LossSpec(task_weight=1), views=ViewsSpec(mixup=0.5))
    assert spec.scheme.mixup == 0.5
    assert spec.replace(views=ViewsSpec()).scheme.mixup == 0


def test_the_spec_is_frozen_and_replace_checks() -> None:
    spec = DistillSpec(schedule=ScheduleSpec(warmup_steps=5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.seed = 3  # type: ignore[misc]
    with pytest.raises(UserError, match="batch_size"):
        spec.replace(batch_size=0)


def test_the_initial_weights_have_a_seed_of_their_own_where_wanted() -> None:
    plain, own, other = (DistillSpec(seed=3, init_seed=seed) for seed in (None, 3, 4))
    assert plain.fingerprint == own.fingerprint != other.fingerprint
    assert plain.fingerprint_no_seed == other.fingerprint_no_seed
    assert "init_seed" not in plain.determining()
    with pytest.raises(UserError, match="init_seed = -1: must be 0 to"):
        DistillSpec(init_seed=-1)

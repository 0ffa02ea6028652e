"""The spec: only a valid one can be made, it survives JSON, and its fingerprint knows what determines the result."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framework.errors import UserError
from framework.spec import (
    DataSpec,
    DistillSpec,
    DurationSpec,
    LossSpec,
    ModelSpec,
    OptimizerSpec,
    ScheduleSpec,
    TeacherSpec,
    ViewsSpec,
)
from tests.recorded import recordings

GOLDEN = recordings("schedule")
DEFAULT = DistillSpec().to_dict()
Path_ = tuple[Any, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The path of each value that is no mapping and no list of mappings; an empty mapping is a leaf."""
    children = value.items() if isinstance(value, dict) and value else ()
    if isinstance(value, list) and value and isinstance(value[0], dict):
        children = list(enumerate(value))
    if not children:
        yield path
    for key, child in children:
        yield from leaves(child, (*path, key))


def replaced(value: Any, path: Path_, new: Any) -> Any:
    """A deep copy in which the value at a path is another one."""
    if not path:
        return new
    value = copy.deepcopy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value


# Another valid value for each of the spec's leaves; `duration` is changed as a whole.
OTHER: dict[Path_, Any] = {
    ("data", "name"): "digits",
    ("data", "config"): "small",
    ("data", "train"): "train[:50%]",
    ("data", "validation"): None,
    ("data", "test"): "holdout",
    ("data", "image"): "img",
    ("data", "labels"): None,
    ("data", "on_bad_image"): "skip",
    ("data", "missing_classes"): "allow",
    ("data", "train_from"): "ethz/food101",
    ("student", "name"): "bit",
    ("student", "options"): {"depth": [1]},
    ("student", "weights"): "student.npz",
    ("student", "dont_load"): ["head/.*"],
    ("teachers", 0, "name"): "digits",
    ("teachers", 0, "options"): {"widths": [8]},
    ("teachers", 0, "weights"): "teacher.npz",
    ("teachers", 0, "dont_load"): ["head/.*"],
    ("teachers", 0, "normalize"): "imagenet",
    ("teachers", 0, "classes"): "pet",
    ("teachers", 0, "min_accuracy"): 0.5,
    ("teachers", 0, "precision"): "bfloat16",
    ("teachers", 0, "fingerprint"): "0123456789abcdef",
    ("teaching",): "consistent",
    ("views", "size"): 32,
    ("views", "area"): [0.1, 1.0],
    ("views", "aspect"): [0.8, 1.25],
    ("views", "flip"): False,
    ("views", "mixup"): 0.5,
    ("views", "truncate"): False,
    ("views", "augmentations"): ["brightness"],
    ("views", "teacher_size"): 32,
    ("views", "resize"): 32,
    ("views", "target_crops"): 10,
    ("batch_norm_size",): 32,
    ("loss", "distance"): "l2",
    ("loss", "temperature"): 2.0,
    ("loss", "task_weight"): 0.1,
    ("loss", "ensemble"): "mean_logits",
    ("loss", "options"): {"label_smoothing": 0.1},
    ("optimizer", "name"): "sgd",
    ("optimizer", "lr"): 0.1,
    ("optimizer", "weight_decay"): 0.0,
    ("optimizer", "b1"): 0.8,
    ("optimizer", "b2"): 0.99,
    ("optimizer", "epsilon"): 1e-6,
    ("optimizer", "clip_norm"): None,
    ("optimizer", "moment_dtype"): "bfloat16",
    ("schedule", "name"): "constant",
    ("schedule", "warmup_steps"): 10,
    ("schedule", "extensions"): [{"at": 5, "before": 9, "how": "restart"}],
    ("duration",): {"total_epochs": 3},
    ("batch_size",): 64,
    ("precision",): "bfloat16",
    ("seed",): 1,
    ("init_seed",): 1,
    ("evaluation", "num_times"): 3,
    ("evaluation", "splits"): ["validation", "test"],
    ("evaluation", "spacing"): "log",
    ("evaluation", "train_subset"): 64,
    ("evaluation", "resize"): 32,
    ("evaluation", "batch_size"): 32,
    ("sources",): ["mine:loss 0123456789abcdef"],
}
# Where a key has a meaning beside another value alone.
BESIDE: dict[Path_, tuple[Path_, Any]] = {("loss", "options"): (("loss", "distance"), "hard")}
CADENCE = {
    ("data", "on_bad_image"),
    ("data", "missing_classes"),
    ("teachers", 0, "min_accuracy"),
    ("evaluation", "num_times"),
    ("evaluation", "splits"),
    ("evaluation", "spacing"),
    ("evaluation", "train_subset"),
    ("evaluation", "batch_size"),
}
SEEDS = {("seed",), ("init_seed",)}


def test_the_table_knows_every_leaf() -> None:
    assert {path if path[0] != "duration" else ("duration",) for path in leaves(DEFAULT)} == set(OTHER)


@pytest.mark.parametrize("path", OTHER, ids=lambda path: ".".join(map(str, path)))
def test_the_fingerprint_depends_on_what_determines_the_result(path: Path_) -> None:
    plain = replaced(DEFAULT, *BESIDE[path]) if path in BESIDE else DEFAULT
    base, changed = DistillSpec.from_dict(plain), DistillSpec.from_dict(replaced(plain, path, OTHER[path]))
    assert changed != base
    assert (changed.fingerprint == base.fingerprint) == (path in CADENCE)
    assert (changed.fingerprint_no_seed == base.fingerprint_no_seed) == (path in CADENCE or path in SEEDS)


def test_a_fingerprint_is_sixteen_digits() -> None:
    spec = DistillSpec(data=DataSpec(name="digits"), duration=DurationSpec(total_epochs=3))
    assert spec.fingerprint == spec.replace(seed=0).fingerprint
    assert len(spec.fingerprint) == 16
    assert int(spec.fingerprint, 16) >= 0


def test_fingerprints_stay_what_they_were() -> None:
    """Runs are found by them for years: a key that comes later must not change them at its default."""
    assert DistillSpec().fingerprint == "742577344fbce14c"
    spec = DistillSpec(teaching="independent", data=DataSpec(name="digits"), views=ViewsSpec(size=8))
    assert spec.fingerprint == "ed9a023e3829ffbb"


@pytest.mark.parametrize(
    ("loss", "seed", "recorded"),
    [
        ({"distance": "kl"}, 0, ("742577344fbce14c", "cbc6d54054b30591")),
        ({"label_smoothing": 0}, 0, ("742577344fbce14c", "cbc6d54054b30591")),
        ({"distance": "hard"}, 0, ("222572cc24dab13b", "17002aa6c7df5cd4")),
        ({"distance": "hard", "label_smoothing": 0.0}, 0, ("222572cc24dab13b", "17002aa6c7df5cd4")),
        ({"distance": "hard", "label_smoothing": 0.1}, 0, ("974742706fc91c7a", "94f5b5c2d6d43228")),
        (
            {"distance": "hard", "label_smoothing": 0.1, "temperature": 2, "ensemble": "mean_logits"},
            3,
            ("4277244bf53116d2", "3edd9d4a09b5bc98"),
        ),
    ],
)
def test_the_losses_options_have_the_fingerprints_of_the_keys_before_them(
    loss: dict[str, Any], seed: int, recorded: tuple[str, str]
) -> None:
    """Recorded when label smoothing was a key of the loss; both ways to write it are the same experiment."""
    new = {key: value for key, value in loss.items() if key != "label_smoothing"}
    if loss.get("distance") == "hard" and "label_smoothing" in loss:
        new["options"] = {"label_smoothing": loss["label_smoothing"]}
    for written in (loss, new):
        spec = DistillSpec.from_dict({"loss": written, "seed": seed})
        assert (spec.fingerprint, spec.fingerprint_no_seed) == recorded


def test_options_of_one_s_own_distance_are_hashed() -> None:
    losses = [{"options": {"label_smoothing": share}} for share in (0.0, 0.1)] + [{}]
    prints = {DistillSpec.from_dict({"loss": {"distance": "own:loss"} | each}).fingerprint for each in losses}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("paper", "plain"), [("ind/ic", "independent"), ("same/ic", "consistent"), ("same/ic,mix", "funmatch")]
)
def test_a_teaching_has_one_fingerprint_under_both_names(paper: str, plain: str) -> None:
    one, other = (DistillSpec(teaching=name) for name in (paper, plain))
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != DistillSpec(teaching="same/rc").fingerprint
    assert DistillSpec.from_dict(one.to_dict()) == one


def test_the_teachers_size_is_hashed_where_it_is_another() -> None:
    two = (TeacherSpec(), TeacherSpec())

    def fingerprint(size: Any) -> str:
        return DistillSpec(teachers=two, views=ViewsSpec(size=24, teacher_size=size)).fingerprint

    assert fingerprint(None) == fingerprint(24) == fingerprint((24, 24))
    assert fingerprint(32) == fingerprint((32, 32))
    assert len({fingerprint(each) for each in (None, 32, (24, 32), (32, 24))}) == 4


def test_each_teacher_has_a_size() -> None:
    two = (TeacherSpec(), TeacherSpec())
    views = {size: ViewsSpec(size=24, teacher_size=size) for size in (None, 32, (32, 24), (48, 48))}
    sizes = {size: DistillSpec(teachers=two, views=each).teacher_sizes for size, each in views.items()}
    assert sizes == {None: (24, 24), 32: (32, 32), (32, 24): (32, 24), (48, 48): (48, 48)}
    assert DistillSpec(teachers=two, views=views[48, 48]).view_sizes == (48,)


def test_a_stored_teacher_is_known_by_its_fingerprint_wherever_it_lies() -> None:
    here, there = (TeacherSpec(fingerprint="0123456789abcdef", weights=folder) for folder in ("a", "b"))
    assert DistillSpec(teachers=(here,)).fingerprint == DistillSpec(teachers=(there,)).fingerprint


def test_integers_given_from_python_are_the_numbers_of_json() -> None:
    one = DistillSpec(optimizer=OptimizerSpec(lr=1), duration=DurationSpec(total_epochs=3))
    assert one.fingerprint == DistillSpec.from_dict(json.loads(json.dumps(one.to_dict()))).fingerprint


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
        ({"batch_size": -3}, "batch_size = -3: allowed is 1 to 1048576"),
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
        ({"teachers": [{"min_accuracy": 90}]}, "teacher.min_accuracy = 90.0: allowed is a share"),
        ({"teachers": [{"normalize": "imagnet"}]}, r"teachers\[0\].normalize"),
        ({"views": {"mixup": 0}}, "views.mixup = 0: say teaching=consistent"),
        ({"views": {"mixup": -1}}, "views.mixup = -1.0"),
        ({"views": {"size": 0}}, "views.size = 0"),
        ({"views": {"size": 4097}}, "views.size = 4097"),
        ({"views": {"area": [0, 1]}}, "views.area"),
        ({"views": {"area": [0.5, 0.4]}}, "views.area"),
        ({"views": {"area": [0.5, 1.1]}}, "views.area"),
        ({"views": {"aspect": [0, 1]}}, "views.aspect"),
        ({"views": {"aspect": [2, 1]}}, "views.aspect"),
        ({"views": {"teacher_size": 0}}, "views.teacher_size = 0"),
        ({"views": {"teacher_size": [24, 5000]}}, r"views.teacher_size = \(24, 5000\): allowed is 1 to 4096"),
        (
            {"views": {"teacher_size": [24, 32]}},
            r"teacher_size = \[24, 32\]: expected one number, or one for each of 1",
        ),
        ({"views": {"resize": 23}}, "views.resize = 23: allowed is views.size = 24 or more"),
        ({"views": {"target_crops": 0}}, "views.target_crops = 0"),
        ({"teaching": "fix/rs", "views": {"augmentations": ["brightness"]}}, "shows images as they are"),
        ({"teaching": "same/rc", "views": {"mixup": 0.5}}, "say teaching=funmatch"),
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


def durations(arrays: np.lib.npyio.NpzFile) -> list[tuple[Any, ...]]:
    """Examples, batch size, epochs and steps: the recorded durations and those of the table of recipes."""
    cases: list[tuple[Any, ...]] = []
    if "durations/steps" in arrays:
        rows, steps = arrays["durations/n_bs_epochs"], arrays["durations/steps"]
        cases += zip(*rows.T.tolist(), steps.tolist(), strict=True)
    if "table/name" in arrays:
        cases += map(tuple, arrays["table/n_bs_epochs_warmup_total"][:, [0, 1, 2, 4]].tolist())
    return cases


@pytest.mark.parametrize("file", [file for file, arrays in GOLDEN.items() if durations(arrays)])
def test_epochs_become_steps_as_in_the_authors_code(file: str) -> None:
    cases = durations(GOLDEN[file])
    asked = [case for case in cases if case[2] > 0]
    assert asked
    for num_examples, batch_size, epochs, steps in asked:
        assert DurationSpec(total_epochs=epochs).steps(num_examples, batch_size) == steps
    # No epoch is no step there, and a mistake here.
    assert not any(steps for *_, epochs, steps in cases if epochs == 0)


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ({"total_steps": 7}, 7),
        ({"total_examples": 25}, 2),  # 2.5 and 3.5 both go to the even one
        ({"total_examples": 35}, 4),
        ({"total_examples": 1}, 1),
        ({"total_epochs": 0.001}, 1),
    ],
)
def test_steps_are_rounded_to_even_and_at_least_one(duration: dict[str, Any], steps: int) -> None:
    assert DurationSpec(**duration).steps(100, 10) == steps


def test_the_initial_weights_have_a_seed_of_their_own_where_wanted() -> None:
    plain, own, other = (DistillSpec(seed=3, init_seed=seed) for seed in (None, 3, 4))
    assert plain.fingerprint == own.fingerprint != other.fingerprint
    assert plain.fingerprint_no_seed == other.fingerprint_no_seed
    assert "init_seed" not in plain.determining()
    with pytest.raises(UserError, match="init_seed = -1: allowed is 0 to"):
        DistillSpec(init_seed=-1)

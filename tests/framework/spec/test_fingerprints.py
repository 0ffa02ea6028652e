"""The fingerprint: it depends on what determines the result, on nothing else, and stays what it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from framework.spec import (
    DataSpec,
    DistillSpec,
    DurationSpec,
    OptimizerSpec,
    TeacherSpec,
    ViewsSpec,
)
from tests.framework.spec.leaves import DEFAULT, Path_, leaves, replaced

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

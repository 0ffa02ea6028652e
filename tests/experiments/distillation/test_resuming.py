"""Resuming a run: to the last bit what it would have been, and refused where it would be another one."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import distill
from experiments.distillation import resuming
from experiments.distillation.options import RunOptions
from framework.errors import UserError
from framework.files.arrays import read_arrays
from framework.files.checkpoints import Checkpoints
from framework.spec import DistillSpec, DurationSpec, ExtensionSpec
from tests.experiments.distillation.segments import FUNMATCH, SPEC, STEPS, STOP, Losses, checkpoint, images, journaled
from tests.experiments.models import TEACHER

pytestmark = pytest.mark.backend


# BatchNorm's statistics and Dropout's seed are state that is no parameter.
MODELS = """
import keras

def build(num_classes, image_size, rate=0.0):
    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(rate, seed=7)(x) if rate else x
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))
"""


@pytest.fixture(autouse=True, scope="module")
def _models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("models")
    (folder / "drawing_model.py").write_text(MODELS)
    (folder / "teaching_model.py").write_text(TEACHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPERIMENTS_DIR", str(folder / "e"))
        patch.syspath_prepend(str(folder))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "images"
    images().save_to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def train(backend: str, data: Path) -> Callable[..., Any]:
    """`train(recorder, changes, ...)`: a run of the small spec in this process."""

    def run(recorder: Losses, changes: Mapping[str, Any], where: Path | None = None, **rest: Any) -> Any:
        given = {"quiet": True, "backend": backend, "log_every": 1, "data": where or data}
        return distill(SPEC | dict(changes), recorder=recorder, **(given | rest))

    return run


@pytest.fixture(scope="module")
def stopped(train: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`stopped(kind)`: the folder of a run that was preempted after step 6."""
    made: dict[str, Path] = {}
    kinds = {"labels": {}, "funmatch": FUNMATCH, "cosine": {"schedule": {"name": "cosine"}}}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            with pytest.raises(KeyboardInterrupt, match="PREEMPTED"):
                train(Losses(STOP), kinds[kind], folder=made[kind])
        return made[kind]

    return folder


DROPOUT = {"student": {"name": "drawing_model:build", "options": {"rate": 0.4}}}
TWO = [{"name": "teaching_model:build", "options": {"seed": seed}} for seed in (0, 1)]
# Between them, the options of a recipe that a resume could forget something of.
RECIPES: dict[str, dict[str, Any]] = {
    "function matching": FUNMATCH,
    "batch norm and dropout": DROPOUT,
    "momentum, cosine, labels beside the teacher": FUNMATCH
    | {
        "optimizer": {"name": "sgd", "lr": 0.01, "clip_norm": 0.1},
        "schedule": {"name": "cosine", "warmup_steps": 3},
        "loss": {"task_weight": 0.3, "distance": "l2"},
        "views": SPEC["views"] | {"augmentations": ["brightness"], "flip": True, "truncate": True},
    },
    "two teachers, other precisions": {
        "teachers": TWO,
        "teaching": "independent",
        "loss": {"ensemble": "mean_logits", "temperature": 2.0},
        "optimizer": {"moment_dtype": "bfloat16"},
        "precision": "mixed_bfloat16",
    },
    "targets made before": {
        "teachers": TWO[:1],
        "teaching": "fix/ic_ens",
        "loss": {},
        "schedule": {"name": "staircase"},
        "views": SPEC["views"] | {"target_crops": 2},
    },
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_a_resumed_run_is_the_uninterrupted_one(
    train: Callable[..., Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole, first, second = Losses(), Losses(STOP), Losses()
    _, expected = train(whole, changes, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="PREEMPTED"):
        train(first, changes, folder=tmp_path / "first")
    _, result = train(second, changes, folder=tmp_path / "second", resume=tmp_path / "first")
    # The segments, one after the other, are the whole: each loss and each evaluation once, and no bit differs.
    assert max(first.values) == STOP
    assert first.values | second.values == whole.values
    assert result["test"] == expected["test"]
    ends = [Checkpoints(tmp_path / name / "checkpoints").load() for name in ("whole", "second")]
    assert [int(state["step"]) for state, _, _ in ends] == [STEPS, STEPS]
    for name, array in ends[0][0].items():
        np.testing.assert_array_equal(ends[1][0][name], array, err_msg=name)
    # The measure of the best goes on as well: its value is the whole run's, whichever segment it was in.
    assert ends[0][1]["best"] == ends[1][1]["best"]


def test_a_longer_duration_where_the_schedule_allows_it(
    train: Callable[..., Any], stopped: Callable[[str], Path], tmp_path: Path
) -> None:
    longer = {"duration": {"total_steps": STEPS + 3}}
    whole, second = Losses(), Losses()
    train(whole, longer, folder=tmp_path / "whole")
    train(second, longer, folder=tmp_path / "second", resume=stopped("labels"))
    for step in range(STOP + 1, STEPS + 4):
        assert second.values[step]["train.loss"] == whole.values[step]["train.loss"]


@pytest.mark.parametrize("extend", ["restart", "cosine", "constant"])
def test_a_run_is_made_longer_as_its_words_say(
    train: Callable[..., Any], stopped: Callable[[str], Path], tmp_path: Path, extend: str
) -> None:
    """In two segments, the second interrupted, or at once as its spec says: no bit differs."""
    changes = {"schedule": {"name": "cosine"}, "duration": {"total_steps": STEPS + 8}}
    short = stopped("cosine")
    with pytest.raises(KeyboardInterrupt, match="PREEMPTED"):
        train(Losses(STOP + 5), changes, folder=tmp_path / "second", resume=short, extend=extend)
    # A job that is started again says the same words again.
    train(Losses(), changes, folder=tmp_path / "third", resume=tmp_path / "second", extend=extend)
    origin = resuming.load(tmp_path / "third")
    [made] = origin.spec.schedule.extensions
    assert (made.at, made.before, made.how) == (STOP, STEPS, extend)
    assert made.level == (1.0 if extend == "restart" else 0.5)
    whole = Losses()
    train(whole, origin.spec.to_dict(), folder=tmp_path / "whole")
    assert whole.values[STOP + 1]["train.loss"] > 0
    for name, array in resuming.load(tmp_path / "whole").state.items():
        np.testing.assert_array_equal(array, origin.state[name], err_msg=name)
    assert origin.spec.fingerprint != replaced(origin.spec, ()).fingerprint


def replaced(spec: DistillSpec, extensions: tuple[ExtensionSpec, ...]) -> DistillSpec:
    return spec.replace(schedule=dataclasses.replace(spec.schedule, extensions=extensions))


def test_a_longer_run_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    cosine = DistillSpec.from_dict(SPEC | {"schedule": {"name": "cosine"}})
    longer = cosine.replace(duration=DurationSpec(total_steps=100))
    folder = journaled(tmp_path)
    checkpoint(folder, STEPS, spec=cosine.to_dict())
    origin = resuming.load(folder)
    with pytest.raises(UserError, match=r"was made for 12 steps.*extend=restart .*extend=cosine .*extend=constant "):
        resuming.check_words(origin, longer, RunOptions())
    for extend in ("cosine", "constant"):
        options = RunOptions(resume="x", extend=extend)
        resuming.check_words(origin, longer, options)
        with pytest.raises(UserError, match=r"the learning rate is 0 at step 12; take extend=restart.*extend_level=0"):
            resuming.extended(longer, options, origin)
    chosen = RunOptions(resume="x", extend="constant", extend_level=0.1)
    added = ExtensionSpec(at=STEPS, before=STEPS, how="constant", level=0.1)
    assert resuming.extended(longer, chosen, origin) == replaced(longer, (added,))
    with pytest.raises(UserError, match="is as long as before; set duration too"):
        resuming.extended(cosine, chosen, origin)


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("labels", {"optimizer": {"lr": 0.5}}, r"optimizer\.lr was 0\.003 and is 0\.5"),
        ("labels", {"seed": 3, "batch_size": 5}, r"batch_size was 6 and is 5; seed was 0 and is 3"),
        ("labels", {"duration": {"total_steps": 4}}, r"duration gives 4 steps, but run \S+ has done 6"),
        (
            "cosine",
            {"duration": {"total_steps": 20}},
            r"'cosine' was made for 12 steps.* with total_steps=20; add extend=r",
        ),
        (
            "funmatch",
            {"teachers": [{"name": "teaching_model:build", "options": {"seed": 1}}]},
            r"teachers\[0\]\.fingerprint was '\w{16}' and is '\w{16}'.*the teacher's SHA-256 was \w{16} and is \w{16}",
        ),
    ],
)
def test_what_would_be_another_run_is_refused(
    train: Callable[..., Any], stopped: Callable[[str], Path], kind: str, changes: dict[str, Any], told: str
) -> None:
    base = {"labels": {}, "cosine": {"schedule": {"name": "cosine"}}, "funmatch": FUNMATCH}[kind]
    with pytest.raises(UserError, match=told) as raised:
        train(Losses(), base | changes, resume=stopped(kind))
    assert "has done 6" in told or "resume_anyway=True resumes all the same" in str(raised.value)


def test_a_changed_function_of_ones_own_is_refused_unless_anyway(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resumed_loss.py"
    file.write_text("def loss(student, teacher, temperature):\n    return ((student - teacher) * 1.0)[:, 0] ** 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    changes = FUNMATCH | {"loss": {"distance": "resumed_loss:loss"}}
    with pytest.raises(KeyboardInterrupt, match="PREEMPTED"):
        train(Losses(STOP), changes, folder=tmp_path / "first")
    file.write_text(f"{file.read_text()}# changed\n")
    told = r"sources was .*'resumed_loss:loss (\w+)'.* and is .*'resumed_loss:loss (?!\1)\w+'.*; resume_anyway=True"
    with pytest.raises(UserError, match=told):
        train(Losses(), changes, folder=tmp_path / "second", resume=tmp_path / "first")
    assert not (tmp_path / "second").exists()
    second = Losses()
    train(second, changes, folder=tmp_path / "second", resume=tmp_path / "first", resume_anyway=True)
    assert max(second.values) == STEPS


def test_other_data_are_refused_unless_anyway(
    train: Callable[..., Any], stopped: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    before = DistillSpec.from_dict(resuming.load(stopped("labels")).metadata["spec"])
    # The same name, other pixels.
    moved = data.rename(tmp_path / "moved")
    images(1).save_to_disk(data)
    try:
        assert before.data.name == str(data)
        with pytest.raises(UserError, match=r"the data's fingerprint was \w+ and is \w+; only duration"):
            train(Losses(), {}, resume=stopped("labels"))
        recorder = Losses()
        train(recorder, {}, resume=stopped("labels"), resume_anyway=True)
        assert min(recorder.values) == STOP + 1
    finally:
        shutil.rmtree(data)
        moved.rename(data)


def test_a_signature_is_nowhere_and_the_run_goes_on_without_it(
    train: Callable[..., Any], tmp_path: Path, address: str
) -> None:
    from framework.models import catalog
    from framework.models.initial import parameters

    convnet = catalog.build("convnet", {"widths": [4]}, 3, 8, 1)
    arrays = {name: np.array(keras_to_numpy(variable)) for name, variable in parameters(convnet).items()}
    np.savez(tmp_path / "served/w.npz", **arrays)
    url = f"{address}/w.npz?X-Signature=S3cret"
    teacher = {"name": "convnet", "options": {"widths": [4]}, "weights": url}
    changes = FUNMATCH | {"teachers": [teacher]}
    with pytest.raises(KeyboardInterrupt, match="PREEMPTED"):
        train(Losses(STOP), changes, folder=tmp_path / "first")
    (tmp_path / "served/w.npz").unlink()
    origin = resuming.load(tmp_path / "first")
    (stored,) = origin.spec.teachers
    assert re.fullmatch(re.escape(f"{address}/w.npz?***#sha256=") + r"\w{64}", str(stored.weights))
    second = Losses()
    train(second, origin.spec.to_dict(), folder=tmp_path / "second", resume=tmp_path / "first")
    assert max(second.values) == STEPS
    places = (tmp_path / "first", tmp_path / "second", Path(os.environ["EXPERIMENTS_DIR"]))
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"S3cret" in path.read_bytes() or "S3cret" in str(path)]


def keras_to_numpy(variable: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable))


def test_dropout_does_not_change_the_engine(stopped: Callable[[str], Path], train: Callable[..., Any]) -> None:
    folder = stopped("labels")
    (path,) = Checkpoints(folder / "checkpoints").paths()[:1]
    state, metadata = read_arrays(path)
    origin = dataclasses.replace(
        resuming.load(folder),
        state=state | {"student/dropout/seed_generator_state": np.zeros(2, np.uint32)},
        metadata=metadata | {"backend": "another"},
    )

    class Ready:
        spec, environment, total_steps = origin.spec, metadata, STEPS

    with pytest.raises(UserError, match=r"the student draws random numbers \(dropout\).*differently from another"):
        resuming.go_on(Ready(), origin)  # type: ignore[arg-type]

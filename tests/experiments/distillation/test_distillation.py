"""`distill` in process: with a spec alone, with Keras models and a DatasetDict of one's own, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import distill, load_student
from framework.errors import UserError
from framework.files.checkpoints import Checkpoints
from framework.spec import DistillSpec

pytestmark = pytest.mark.backend
SPEC: dict[str, Any] = {
    "views": {"size": 8, "flip": False, "truncate": False},
    "student": {"name": "convnet", "options": {"widths": [4]}},
    "duration": {"total_steps": 3},
    "batch_size": 6,
    "evaluation": {"num_times": 0, "train_subset": 6, "batch_size": 6},
}
LABELS = {"teachers": [], "teaching": "labels", "loss": {"task_weight": 1.0}}


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))


@pytest.fixture
def data() -> Any:
    """A DatasetDict of three classes of flat grey images."""
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "grey", "light"])}
    )

    def split(count: int) -> Any:
        labels = [number % 3 for number in range(count)]
        images = [np.full((9, 8, 3), 60 * label + number, np.uint8) for number, label in enumerate(labels)]
        return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)

    return datasets.DatasetDict(train=split(12), test=split(6))


def model(outputs: int = 3, size: int = 8) -> Any:
    import keras

    return keras.Sequential(
        [keras.Input((size, size, 3)), keras.layers.Flatten(), keras.layers.Dense(outputs, name="logits")], name="own"
    )


def weights(each: Any) -> list[Any]:
    return [np.array(array) for array in each.get_weights()]


class Written:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.values: list[tuple[int, dict[str, float]]] = []
        self.files: list[Path] = []

    def started(self, spec: Any, environment: Any) -> None:
        raise AssertionError("its owner's to call")

    def metrics(self, step: int, values: Any) -> None:
        self.values.append((step, dict(values)))

    def artifact(self, path: Path) -> None:
        self.files.append(path)

    def ended(self, status: str, result: Any) -> None:
        raise AssertionError("its owner's to call")


def test_own_models_and_data(data: Any, tmp_path: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    student, teacher, recorder = model(), model(), Written()
    before, taught = weights(student), weights(teacher)
    trained, result = distill(
        SPEC,
        student=student,
        teacher=teacher,
        data=data,
        folder=tmp_path / "run",
        recorder=recorder,
        quiet=True,
        backend=backend,
        log_every=1,
    )
    assert trained is student
    assert capsys.readouterr() == ("", "")
    assert all(np.array_equal(a, b) for a, b in zip(weights(teacher), taught, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(weights(trained), before, strict=True))
    assert result["steps"] == 3
    assert result["test"]["examples"] == 6
    json.dumps(result, allow_nan=False)
    assert [step for step, values in recorder.values if "train.loss" in values] == [1, 2, 3]
    assert "test.teacher.accuracy" in recorder.values[0][1]
    # No name builds such a student again: it is stored whole, and it is what came back.
    import keras

    files = [tmp_path / "run/student" / name for name in ("model.json", "weights.safetensors", "student.keras")]
    assert recorder.files == [*files, tmp_path / "run/answers.json"]
    answers = json.loads(recorder.files[3].read_text())
    assert sum(count for _, count, _, _ in answers["by_class"]) == answers["examples"] == 6
    for place, who in ((2, "student"), (3, "teacher")):
        assert sum(row[place] for row in answers["by_class"]) == pytest.approx(6 * result["test"][who]["accuracy"])
    assert max(image["kl"] for image in answers["images"]) >= result["test"]["student"]["kl"]
    stored = keras.saving.load_model(files[2], compile=False)
    assert all(np.array_equal(a, b) for a, b in zip(weights(stored), weights(trained), strict=True))
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    loaded = load_student(moved, backend)
    assert all(np.array_equal(a, b) for a, b in zip(weights(loaded.model), weights(trained), strict=True))
    state, metadata, _ = Checkpoints(moved / "checkpoints").load()
    np.testing.assert_array_equal(state["student/logits/bias"], weights(trained)[1])
    assert metadata["spec"]["student"]["name"] == metadata["spec"]["teachers"][0]["name"] == "given"


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_what_was_handed_over_and_kerass_dtype_stay_as_they_were(data: Any, backend: str, precision: str) -> None:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        teacher = model()
        taught = weights(teacher)
        distill(SPEC | {"precision": precision}, teacher=teacher, data=data, quiet=True, backend=backend)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert {each.dtype for each in teacher.variables} == {"float32"}
        assert all(np.array_equal(a, b) for a, b in zip(weights(teacher), taught, strict=True))
    finally:
        keras.config.set_dtype_policy(before)


def test_models_that_are_handed_over_are_in_the_fingerprint(data: Any, backend: str, tmp_path: Path) -> None:
    from experiments.distillation.options import RunOptions
    from experiments.distillation.prepare import prepare

    data.save_to_disk(tmp_path / "data")
    spec = DistillSpec.from_dict(SPEC | {"data": {"name": str(tmp_path / "data")}})

    def made(student: Any, teacher: Any) -> str:
        return prepare(spec, RunOptions(backend=backend), student=student, teacher=teacher).spec.fingerprint

    one, two, three = model(), model(), model()
    assert len({made(three, one), made(two, one), made(one, two), made(None, one)}) == 4
    assert made(one, two) == made(one, two)


def test_a_spec_alone(data: Any, tmp_path: Path, backend: str) -> None:
    data.save_to_disk(tmp_path / "data")
    spec = DistillSpec.from_dict(SPEC | LABELS)
    first, result = distill(spec, data=tmp_path / "data", quiet=True, backend=backend)
    again, _ = distill(spec, data=str(tmp_path / "data"), quiet=True, backend=backend)
    assert all(np.array_equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))
    assert set(result) == {"steps", "seconds", "steps_per_second", "train", "validation", "test"}
    assert not (tmp_path / "e/runs").exists()


@pytest.mark.parametrize(
    ("changes", "arguments", "told"),
    [
        ({"batch_siz": 1}, {}, "unknown key 'batch_siz': did you mean 'batch_size'"),
        (LABELS, {"teacher": 3}, "teaching = 'labels': expected 0 teachers, received 1"),
        ({}, {"teacher": 4}, "the teacher has 4 outputs, but data .* have 3 classes"),
        ({}, {"teacher": 3, "student": 4}, "the student has 4 outputs, but data .* have 3 classes"),
        ({"data": {"labels": None}}, {"teacher": 4, "student": 5}, "the teacher has 4 outputs and the student 5"),
        ({"teachers": [{"min_accuracy": 1.0}]}, {"teacher": 3}, "below teacher.min_accuracy = 1.0"),
        (
            {"teachers": [{"min_accuracy": 0.1}], "data": {"test": None, "validation": None}},
            {"teacher": 3},
            "min_accuracy = 0.1 needs a test or validation split with labels",
        ),
        (LABELS, {"threads": 0}, "threads = 0"),
        (LABELS | {"data": {"labels": "nosuch"}}, {}, "nosuch"),
    ],
)
def test_mistakes(data: Any, backend: str, changes: Any, arguments: Any, told: str) -> None:
    built = {name: model(value) if name in ("teacher", "student") else value for name, value in arguments.items()}
    with pytest.raises(UserError, match=told):
        distill(SPEC | changes, data=data, quiet=True, backend=backend, **built)


def test_a_loss_of_ones_own_is_in_the_fingerprint_and_kept(
    data: Any, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept_loss.py").write_text(
        "from keras import ops\n"
        "def loss(student, teacher, temperature):\n    return ops.sum((student - teacher) ** 2, axis=-1)\n"
        "def scalar(student, teacher, temperature):\n    return ops.sum((student - teacher) ** 2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec, run = SPEC | {"loss": {"distance": "kept_loss:loss"}}, tmp_path / "run"
    recorder = Written()
    distill(spec, teacher=model(), data=data, folder=run, recorder=recorder, quiet=True, backend=backend)
    assert recorder.files[0] == run / "sources/kept_loss.py"
    assert recorder.files[0].read_text() == (tmp_path / "kept_loss.py").read_text()
    [line] = Checkpoints(run / "checkpoints").load()[1]["spec"]["sources"]
    assert line.startswith("kept_loss:loss ")
    with pytest.raises(UserError, match=r"'kept_loss:scalar' returns a scalar"):
        distill(SPEC | {"loss": {"distance": "kept_loss:scalar"}}, teacher=model(), data=data, quiet=True)


def test_what_is_no_model_is_refused(data: Any, backend: str) -> None:
    for given in ({"teacher": 3}, {"student": "convnet", "teacher": model()}):
        with pytest.raises(UserError, match=r"expected a keras\.Model, received a (int|str)"):
            distill(SPEC, data=data, quiet=True, backend=backend, **given)
    one = model()
    with pytest.raises(UserError, match="student and teacher are one object"):
        distill(SPEC, data=data, quiet=True, backend=backend, student=one, teacher=one)


def test_a_teacher_may_learn_afterwards(data: Any, backend: str) -> None:
    """As networks that are born again do."""
    one, two = model(), model()
    distill(SPEC, student=two, teacher=one, data=data, quiet=True, backend=backend)
    before = weights(one)
    distill(SPEC, student=one, teacher=two, data=data, quiet=True, backend=backend)
    assert not all(np.array_equal(a, b) for a, b in zip(weights(one), before, strict=True))


def test_the_card_says_how_an_image_becomes_an_input(data: Any, backend: str, tmp_path: Path) -> None:
    spec = SPEC | LABELS
    for resize, told in ((None, "the whole image is squeezed to 8 x 8"), (9, "the central 8 x 8 are cut out")):
        evaluation = spec["evaluation"] | {"resize": resize}
        distill(spec | {"evaluation": evaluation}, data=data, folder=tmp_path / "run", quiet=True, backend=backend)
        card = json.loads((tmp_path / "run/student/model.json").read_text())
        assert card["preprocessing"]["range"] == "[-1, 1]: pixels / 127.5 - 1"
        assert told in card["preprocessing"]["crop"]


def test_a_disk_that_takes_no_answers_is_told(
    data: Any, backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "answers.json").mkdir(parents=True)
    distill(SPEC | LABELS, data=data, folder=tmp_path / "run", quiet=True, backend=backend)
    assert "warning: the answers to the test images are not stored: " in capsys.readouterr().err
    assert (tmp_path / "run/student/model.json").is_file()


def test_a_teacher_for_other_views_is_a_mistake(data: Any, backend: str) -> None:
    with pytest.raises(UserError, match="the teacher"):
        distill(SPEC, teacher=model(size=16), data=data, quiet=True, backend=backend)


def test_a_teacher_of_its_own_size(data: Any, backend: str) -> None:
    """It takes no other: in each step and in the evaluations it sees the student's crop at 16 pixels."""
    spec = SPEC | {"views": SPEC["views"] | {"teacher_size": 16}}
    _, result = distill(spec, teacher=model(size=16), data=data, quiet=True, backend=backend)
    assert {"accuracy", "loss"} <= set(result["test"]["teacher"])
    with pytest.raises(UserError, match="the student"):
        distill(spec, student=model(size=16), teacher=model(size=16), data=data, quiet=True, backend=backend)


def test_targets_that_are_made_before(data: Any, backend: str, tmp_path: Path) -> None:
    spec = SPEC | {"teaching": "fix/ic_ens", "views": SPEC["views"] | {"target_crops": 3}}
    first, _ = distill(spec, teacher=model(), data=data, quiet=True, backend=backend)
    [folder] = (tmp_path / "e/cache/targets").iterdir()
    assert len(list(folder.glob("*.safetensors"))) == 1
    assert np.isfinite(weights(first)[0]).all()


def test_what_ends_the_training_is_raised(data: Any, backend: str) -> None:
    optimizer = {"optimizer": {"lr": 1e38, "clip_norm": None}, "duration": {"total_steps": 20}}
    with pytest.raises(FloatingPointError, match="the loss is"):
        distill(SPEC | LABELS | optimizer, data=data, quiet=True, backend=backend)


def test_a_teacher_without_numbers_has_its_name_in_the_message(data: Any, backend: str) -> None:
    """Flat images alone show it, and nothing is evaluated before."""
    import keras

    image = keras.Input((8, 8, 3))
    pixels = keras.layers.Flatten()(image)
    spread = keras.ops.max(pixels, axis=-1, keepdims=True) - keras.ops.min(pixels, axis=-1, keepdims=True)
    teacher = keras.Model(image, keras.layers.Dense(3)(pixels / spread))
    untold = SPEC | {"data": {"test": None, "validation": None}}
    with pytest.raises(FloatingPointError, match=r"the teacher 'given' gives NaN or infinite logits for this batch"):
        distill(untold, teacher=teacher, data=data, quiet=True, backend=backend)
    with pytest.raises(UserError, match=r"the teacher 'given' gives no finite logits for images of test"):
        distill(SPEC, teacher=teacher, data=data, quiet=True, backend=backend)


def test_without_labels_only_closeness_is_measured(data: Any, backend: str) -> None:
    _, result = distill(SPEC | {"data": {"labels": None}}, teacher=model(), data=data, quiet=True, backend=backend)
    assert set(result["test"]["student"]) == {"kl", "agreement@1", "agreement@5"}


def test_the_hint_on_decay(data: Any, backend: str, tmp_path: Path) -> None:
    from experiments.distillation.prepare import prepare

    data.save_to_disk(tmp_path / "data")
    spec = SPEC | LABELS | {"optimizer": {"lr": 0.001, "weight_decay": 0.05}, "data": {"name": str(tmp_path / "data")}}
    told: list[str] = []
    prepare(DistillSpec.from_dict(spec), tell=told.append)
    hint = "weight_decay = 0.05 is not multiplied by lr here: a decay of 0.05 in other libraries is 5e-05 here"
    assert any(hint in line for line in told)


def test_ways_to_save_memory_change_nothing(data: Any) -> None:
    spec = SPEC | LABELS
    losses = []
    for options in ({}, {"grad_accum_steps": 3, "remat": True}):
        _, result = distill(spec, data=data, quiet=True, **options)
        losses.append(result["test"]["student"]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_memory_that_cannot_be_saved_is_refused(data: Any) -> None:
    with pytest.raises(UserError, match=r"remat = True: student\.name = 'mobilenet_v3': allowed: bit, convnet"):
        distill(SPEC | {"student": {"name": "mobilenet_v3"}} | LABELS, data=data, quiet=True, remat=True)
    with pytest.raises(UserError, match=r"grad_accum_steps = 4: allowed are divisors of batch_size: 1, 2, 3, 6"):
        distill(SPEC | LABELS, data=data, quiet=True, grad_accum_steps=4)


def test_initial_weights_of_another_seed(data: Any) -> None:
    from framework.models.initial import initial_value

    still = {"optimizer": {"lr": 1e-30, "weight_decay": 0.0}, "seed": 1}
    for changes, seed in (({}, 1), ({"init_seed": 5}, 5)):
        student, _ = distill(SPEC | LABELS | still | changes, data=data, quiet=True)
        kernel = weights(student)[0]
        np.testing.assert_array_equal(kernel, initial_value("stage1/conv1/kernel", kernel.shape, seed))

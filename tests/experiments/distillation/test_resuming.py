"""Resuming a run: to the last bit what it would have been, and refused where it would be another one."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import distill
from experiments.distillation import lineage, resuming
from experiments.distillation.options import RunOptions
from experiments.run import PROGRAM
from experiments.tracking import queries
from experiments.tracking.folders import new_run_folder, run_folders
from experiments.tracking.journal import Journal, read_journal
from framework.errors import UserError
from framework.files.arrays import read_arrays
from framework.files.checkpoints import Checkpoints
from framework.spec import DistillSpec, DurationSpec, ExtensionSpec
from tests.experiments.models import TEACHER

pytestmark = pytest.mark.backend
STEPS, STOP = 12, 6
SPEC: dict[str, Any] = {
    "views": {"size": 8, "flip": False, "truncate": False},
    "student": {"name": "convnet", "options": {"widths": [4]}},
    "teachers": [],
    "teaching": "labels",
    "loss": {"task_weight": 1.0},
    "schedule": {"name": "constant", "warmup_steps": 2},
    "duration": {"total_steps": STEPS},
    "batch_size": 6,
    "evaluation": {"num_times": 3, "train_subset": 6, "batch_size": 6},
}
FUNMATCH = {"teachers": [{"name": "teaching_model:build"}], "teaching": "funmatch", "loss": {}}
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


def images(shift: int = 0) -> Any:
    """A DatasetDict of three classes of noisy grey images."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rng = np.random.default_rng(shift)

    def split(count: int) -> Any:
        labels = [number % 3 for number in range(count)]
        pixels = [rng.integers(60 * label, 60 * label + 90, (9, 8, 3), dtype=np.uint8) for label in labels]
        return datasets.Dataset.from_dict({"image": pixels, "label": labels}, features=features)

    return datasets.DatasetDict(train=split(20), validation=split(6), test=split(6))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "images"
    images().save_to_disk(folder)
    return folder


class Losses:
    """Keeps the metrics; sends a signal during a step: the one before it is told then."""

    def __init__(self, stop: int | None = None) -> None:
        self.values: dict[int, dict[str, float]] = {}
        self.stop = stop

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        assert not set(self.values.get(step, {})) & set(values), "a step was told twice"
        self.values.setdefault(step, {}).update(values)
        if self.stop is not None and step == self.stop - 1 and "train.loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)

    def artifact(self, path: Path) -> None: ...

    def ended(self, status: str, result: Mapping[str, Any]) -> None: ...


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


def checkpoint(folder: Path, step: int, **metadata: Any) -> Path:
    state = {"step": np.asarray(step), "student/a": np.ones(3)}
    base = {"spec": DistillSpec.from_dict(SPEC).to_dict(), "backend": "b", "total_steps": STEPS, "options": {}}
    return Checkpoints(folder / "checkpoints", keep=3).save(state, base | metadata)


def journaled(root: Path, **fields: Any) -> Path:
    time.sleep(0.002)  # names sort by the millisecond
    folder = new_run_folder(root)
    journal = Journal(folder)
    if fields:
        journal.append("fields", {"fields": fields})
    journal.close()
    return folder


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


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(tmp_path: Path) -> None:
    folder = journaled(tmp_path)
    checkpoint(folder, 3)
    newest = checkpoint(folder, 4)
    newest.write_bytes(newest.read_bytes()[:-1])
    origin = resuming.load(folder)
    assert origin.step == 3
    assert len(origin.notes) == 1
    assert f"{newest} is damaged" in origin.notes[0]


def test_a_segment_without_a_checkpoint_leads_to_the_one_before(tmp_path: Path) -> None:
    first = journaled(tmp_path)
    checkpoint(first, 3)
    second = journaled(tmp_path, resumed_from=first.name, root_run=first.name, resumed_folder=str(first))
    origin = resuming.load(second)
    assert (origin.folder, origin.step, origin.root_run) == (first, 3, first.name)
    # What it left of a checkpoint goes as well, and its journal is brought along.
    assert (origin.segments, origin.lineage) == ((second, first), (first,))
    assert origin.superseded == [second / "checkpoints", first / "checkpoints"]
    third = journaled(tmp_path, **origin.fields())
    assert resuming.load(third).segments == (third, second, first)
    assert lineage.find("latest", tmp_path) == third
    shutil.rmtree(third)
    assert lineage.find("latest", tmp_path) == second
    checkpoint(second, 7)
    origin = resuming.load(second)
    assert (origin.folder, origin.step, origin.root_run) == (second, 7, first.name)
    assert origin.lineage == (second, first)
    # Folders that were moved together still find each other.
    moved = tmp_path / "elsewhere"
    (tmp_path / "runs").rename(moved)
    assert resuming.load(moved / second.name).lineage == (moved / second.name, moved / first.name)


def test_a_run_of_many_segments_takes_no_more_room_than_one(tmp_path: Path) -> None:
    first, second = journaled(tmp_path), journaled(tmp_path)
    for step in (1, 2, 3):
        checkpoint(first, step)
    cut_short = first / "checkpoints/.step_000000004.safetensors.1.tmp"
    cut_short.write_bytes(b"half of one")
    later = Checkpoints(second / "checkpoints", keep=2, superseded=[first / "checkpoints"])
    later.save({"step": np.asarray(4)}, {})
    assert not cut_short.exists()
    assert len(Checkpoints(first / "checkpoints").paths()) == 3
    later.save({"step": np.asarray(5)}, {})
    assert Checkpoints(first / "checkpoints").paths() == []
    assert len(later.paths()) == 2


def test_names(tmp_path: Path) -> None:
    old, new, empty = (journaled(tmp_path) for _ in range(3))
    checkpoint(old, 1)
    checkpoint(new, 1)
    assert lineage.find("latest", tmp_path) == new
    assert lineage.find(old.name, tmp_path) == lineage.find(str(old), tmp_path) == old
    with pytest.raises(UserError, match=f"could be {old.name}, {new.name}"):
        lineage.find(old.name[:8], tmp_path)
    with pytest.raises(UserError, match="without a database runs have no numbers"):
        lineage.find("3", tmp_path, journal_only=True)
    with pytest.raises(UserError, match="no checkpoint in"):
        resuming.load(lineage.find(empty.name, tmp_path))
    with pytest.raises(UserError, match=r"no run in .* has a checkpoint"):
        lineage.find("latest", tmp_path / "nowhere")
    journal = Journal(new)
    try:
        with pytest.raises(UserError, match=f"run {new.name} is still running"):
            lineage.find(new.name, tmp_path)
        assert lineage.find("latest", tmp_path) == old
    finally:
        journal.close()


def losses(folders: list[Path]) -> dict[int, float]:
    found: dict[int, float] = {}
    for folder in folders:
        for record in read_journal(folder):
            if record["type"] == "metrics" and "train.loss" in record["values"]:
                found[record["step"]] = record["values"]["train.loss"]
    return found


LONG = ("digits", "student.options.widths=[4]", "teaching=labels", "duration.total_steps=240", "log_every=1")


@pytest.mark.mongod
@pytest.mark.slow
def test_killed_preempted_and_resumed_as_people_do_it(
    commands: Any, database: Any, said: Any, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = (*LONG, "evaluation.num_times=2", "evaluation.train_subset=0", "checkpoint_steps=20")

    def wait_for(segment: int, step: int, process: Any) -> None:
        deadline = time.monotonic() + 200
        while len(folders := run_folders(commands.root)) <= segment or max(losses(folders[segment:]), default=0) < step:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    first = commands.start_run(*words)
    wait_for(0, 60, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = commands.start("experiments.run", "with", "resume=1")
    wait_for(1, 90, second)
    second.send_signal(signal.SIGTERM)
    done = commands.wait(second)
    assert re.search(r"PREEMPTED: .* run 2; to resume: python -m experiments\.run with resume=2$", said(done, 75))
    done = commands("experiments.run", "with", "resume=latest", "checkpoint_minutes=5")
    assert done.returncode == 0, done.stderr
    assert "resuming run" in done.stderr

    # In a process of its own like the others: another number of threads would add up in another order.
    whole = type(commands)(tmp_path / "whole", backend)
    whole.root.mkdir(mode=0o700)
    (whole.root / "cache").symlink_to(commands.root / "cache")
    assert whole.run("-J", *words).returncode == 0
    (uninterrupted,) = run_folders(whole.root)
    folders, expected = run_folders(commands.root), losses([uninterrupted])
    assert losses(folders) == expected
    ends = [Checkpoints(folder / "checkpoints").load()[0] for folder in (folders[2], uninterrupted)]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)
    # What was cut short has given its room to what went on.
    assert [Checkpoints(folder / "checkpoints").paths() for folder in folders[:2]] == [[], []]

    runs = list(database.runs.find(sort=[("_id", 1)]))
    uids = [run["uid"] for run in runs]
    assert [run["status"] for run in runs] == ["DEAD", "PREEMPTED", "COMPLETED"]
    assert [run.get("resumed_from") for run in runs] == [None, uids[0], uids[1]]
    assert [run.get("root_run") for run in runs] == [None, uids[0], uids[0]]
    assert runs[2]["info"]["resumed_at"] == runs[2]["resumed_at"]
    assert runs[2]["config"]["resume"] == uids[1]
    curve = queries.curves(database, [3], ["train.loss"])
    assert dict(zip(curve["step"], curve["value"], strict=True)) == expected
    assert len(curve) == len(expected)

    monkeypatch.setenv("EXPERIMENTS_DIR", str(commands.root))
    assert PROGRAM.main(["with", "resume=3"]) == 0
    assert capsys.readouterr().out == f"run {uids[2]} is finished: there is nothing to do\n"
    assert len(run_folders(commands.root)) == 3


# A disk that takes the small files and none of the checkpoints.
SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
"""


def test_a_full_disk_is_said_and_the_run_goes_on(commands: Any, short: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("resource")
    (tmp_path / "sitecustomize.py").write_text(SMALL_DISK)
    process = commands.start_run("-J", *short, "checkpoint_steps=2", PYTHONPATH=str(tmp_path))
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line.split(": ")[1] for line in warnings[:2]] == ["no checkpoint at step 2", "no checkpoint at step 4"]
    assert "File too large" in warnings[0]
    assert "COMPLETED, but not all could be written" in err.splitlines()[-1]
    assert "accuracy (95 %)" in out
    (folder,) = run_folders(commands.root)
    records = read_journal(folder)
    assert [record["text"] for record in records if record["type"] == "warning"] == warnings
    (end,) = [record for record in records if record["type"] == "ended"]
    assert (end["status"], end["result"]["checkpoints"]["written"]) == ("COMPLETED", 0)

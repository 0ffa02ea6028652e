"""`python -m experiments.run` in processes of its own: exit codes, few lines, and what MongoDB holds afterwards."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.tracking.folders import run_folders
from experiments.tracking.journal import read_journal
from framework.files import stored
from framework.files.checkpoints import Checkpoints

ENDLESS = ("duration.total_steps=10000000", "evaluation.num_times=0", "evaluation.train_subset=0", "log_every=1")

MINE = """
import time
from pathlib import Path
import keras

def distance(student, teacher, temperature):
    return keras.ops.sum(keras.ops.square(student - teacher), axis=-1)

def darker(views, uniform):
    return views - 0.1 * uniform[:, None, None, :1]

def build(num_classes, image_size, units=4):
    return keras.Sequential([
        keras.Input((image_size, image_size, 3)),
        keras.layers.Flatten(),
        keras.layers.Dense(units, activation="relu", name="hidden"),
        keras.layers.Dense(num_classes, name="logits"),
    ])

def sleepy(num_classes, image_size):
    Path(__file__).with_name("asleep").touch()
    time.sleep(600)
"""


@pytest.mark.backend
def test_an_unreachable_server_is_one_line(here: Any, said: Any, short: tuple[str, ...]) -> None:
    done = here("experiments.run", "-m", "localhost:1:runs", "with", *short, f"backend={here.backend}")
    assert "-m localhost:1:runs: not reached within 5 s" in said(done, 2)
    assert len(done.stderr.splitlines()) == 1
    assert run_folders(here.root) == []


@pytest.mark.backend
def test_what_is_refused_leaves_nothing(here: Any, said: Any, short: tuple[str, ...]) -> None:
    refused = "-q stores a run in MongoDB, where workers find it: leave --journal-only out"
    for words, told in {("-q", "-J"): refused, ("teacher.min_accuracy=1.0",): "below teacher.min_accuracy"}.items():
        assert told in said(here.run(*short, *words), 2)
    assert {path.name for path in here.root.iterdir()} == {"cache"}


@pytest.mark.backend
def test_the_config_that_is_stored_is_the_one_that_was_used(here: Any, short: tuple[str, ...]) -> None:
    done = here("experiments.run", "-J", "with", *short, "device=cpu")
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(here.root)
    (run,) = [record for record in read_journal(folder) if record["type"] == "run"]
    used = {name: run["config"][name] for name in ("backend", "device", "threads")}
    (started,) = [record for record in read_journal(folder) if record["type"] == "started"]
    assert used["backend"] == started["environment"]["backend"] == here.backend
    assert used["device"] == "cpu:0"
    assert used["threads"] >= 1
    # What was told before the run began is in its output as well.
    output = (folder / "output.txt").read_text()
    assert all(line in output for line in done.stderr.splitlines()), output


@pytest.mark.backend
@pytest.mark.mongod
def test_mistakes_in_data_and_teachers(
    here: Any, database: Any, said: Any, short: tuple[str, ...], tmp_path: Path
) -> None:
    write_images(tmp_path / "two", 6)
    cases = {
        ("data=./missing",): "missing",
        ("data.test=nosuch",): "data 'digits' has no split 'nosuch' (data.test): it has upstream (500 rows), train",
        ("teacher.min_accuracy=1.0",): "below teacher.min_accuracy = 1.0",
        (f"data={tmp_path / 'two'}", "data.validation=null"): "knows 10 classes",
    }
    for words, told in cases.items():
        assert told in said(here.run(*short, *words), 2)
    assert database.runs.count_documents({}) == 0
    assert run_folders(here.root) == []


@pytest.mark.backend
@pytest.mark.mongod
def test_two_runs_at_once(commands: Any, database: Any, short: tuple[str, ...]) -> None:
    both = [
        commands.start_run(*short, "--name=named", "--comment=no labels", "data.labels=null"),
        commands.start_run(*short, "seed=1", "student.options.widths=[4,4]"),
    ]
    first, second = [commands.wait(process) for process in both]
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    runs = {run["config"]["seed"]: run for run in database.runs.find()}
    assert {run["_id"] for run in runs.values()} == {1, 2}
    assert {run["status"] for run in runs.values()} == {"COMPLETED"}
    assert (runs[0]["experiment"]["name"], runs[0]["meta"]["comment"]) == ("named", "no labels")
    assert runs[1]["experiment"]["name"] == "run"
    for done, run in ((first, runs[0]), (second, runs[1])):
        assert f"as run {run['_id']}: python -m experiments.runs show {run['_id']}" in done.stdout
        assert run["result"]["steps"] == 4
    # Without labels there is no accuracy, and the closeness to the teacher all the same.
    assert set(runs[0]["result"]["test"]["student"]) == {"kl", "agreement@1", "agreement@5"}
    assert runs[1]["result"]["test"]["teacher"]["accuracy"] > 0.3
    assert "accuracy (95 %)" in second.stdout


@pytest.mark.backend
@pytest.mark.mongod
def test_no_server_anywhere_journals_and_replays(
    commands: Any, here: Any, database: Any, short: tuple[str, ...]
) -> None:
    with_none = type(commands)(commands.root.with_name("other"), commands.backend)
    with_none.root.mkdir()
    done = type(here)(with_none.root, here.backend).run(*short, EXPERIMENTS_MONGOD=str(with_none.root / "missing"))
    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if "no database" in line]
    assert f"the run is journaled in {with_none.root / 'runs'}; `python -m experiments.db replay` brings" in told
    replayed = with_none("experiments.db", "replay", "-m", f"mongodb://{server_of(database)}/patient_teachers")
    assert replayed.stdout.startswith("1 written, "), replayed.stderr
    (run,) = database.runs.find()
    assert (run["status"], run["result"]["steps"]) == ("COMPLETED", 4)


def server_of(database: Any) -> str:
    ((host, _),) = database.client.nodes or [database.client.address]
    return str(host).replace("/", "%2F")


def wait_until(condition: Any, process: Any) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.backend
@pytest.mark.mongod
def test_signals(commands: Any, database: Any, short: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)

    def steps(seed: int) -> int:
        for folder in run_folders(commands.root):
            records = read_journal(folder)
            if any(record.get("config", {}).get("seed") == seed for record in records):
                return max((record.get("step", 0) for record in records), default=0)
        return 0

    started = {
        "INTERRUPTED": (signal.SIGINT, 130, commands.start_run(*short, *ENDLESS, "seed=1")),
        "PREEMPTED": (signal.SIGTERM, 75, commands.start_run(*short, *ENDLESS, "seed=2")),
    }
    preparing = commands.start_run(*short, "student=mine:sleepy", "seed=3", PYTHONPATH=str(tmp_path))
    for seed, (number, _, process) in enumerate(started.values(), 1):
        wait_until(lambda seed=seed: steps(seed) >= 3, process)
        process.send_signal(number)
    wait_until((tmp_path / "asleep").exists, preparing)
    preparing.send_signal(signal.SIGTERM)
    for seed, (status, (_, code, process)) in enumerate(started.items(), 1):
        done = commands.wait(process)
        assert done.returncode == code, done.stderr
        told = re.search(rf"{status}: ended after step (\d+), kept: (\S+); run (\d+)", done.stderr)
        assert told, done.stderr
        state, metadata, problems = Checkpoints(Path(told[2]).parent).load()
        assert (int(state["step"]), problems) == (int(told[1]), [])
        assert metadata["spec"]["seed"] == seed
        assert database.runs.find_one({"_id": int(told[3])})["status"] == status
    done = commands.wait(preparing)
    assert done.returncode == 75, done.stderr
    assert "PREEMPTED: before the first step, nothing was trained" in done.stderr
    assert database.runs.find_one({"config.seed": 3}) is None


@pytest.mark.backend
@pytest.mark.mongod
def test_a_loss_that_is_no_number(commands: Any, database: Any, said: Any, short: tuple[str, ...]) -> None:
    done = commands.run(*short, "optimizer.lr=1e38", "optimizer.clip_norm=null", "duration.total_steps=50")
    line = said(done, 1)
    assert re.search(
        r"the loss is (nan|inf) at step \d+ \(learning rate \S+, draws \w{16}\): try a lower optimizer\.lr;", line
    )
    assert re.search(r"no checkpoint yet; run 1; -d shows", line)
    (run,) = database.runs.find()
    assert run["status"] == "FAILED"
    assert any("NotFinite: the loss is" in part for part in run["fail_trace"])


@pytest.mark.backend
def test_nobody_has_to_edit_our_tables(commands: Any, short: tuple[str, ...], tmp_path: Path, backend: str) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    namespace: dict[str, Any] = {"__file__": str(tmp_path / "mine.py")}
    exec(MINE, namespace)
    # Other weights than the run gives the model that it builds, whatever was seeded before this test.
    import keras

    keras.utils.set_random_seed(12345)
    namespace["build"](10, 8).save(tmp_path / "saved.keras")
    own = (
        "loss.distance=mine:distance",
        "views.augmentations=['mine:darker']",
        "student=mine:build",
        "student.options.units=6",
        # Neither was trained, which is refused unless it is said.
        "teachers=[{'name':'mine:build','min_accuracy':0},"
        f"{{'name':'{tmp_path / 'saved.keras'}','normalize':'unit','min_accuracy':0}}]",
    )
    done = commands.run(
        "-J", *(word for word in short if not word.startswith("teacher=")), *own, PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(commands.root)
    records = read_journal(folder)
    (started,) = [record for record in records if record["type"] == "started"]
    hashes = [each["sha256"] for each in started["environment"]["teachers"]]
    assert len(set(hashes)) == 2
    assert [each["fingerprint"] for each in started["spec"]["teachers"]] == [text[:16] for text in hashes]
    card = stored.load_card(folder / "student")
    assert (card.name, card.options) == ("mine:build", {"units": 6})
    assert card.made_by.startswith("python -m experiments.run -J with digits ")
    assert stored.load_weights(folder / "student", card)["hidden/kernel"].shape == (192, 6)
    assert [line.split()[0] for line in started["spec"]["sources"]] == ["mine:build", "mine:darker", "mine:distance"]
    assert (folder / "sources" / "mine.py").read_text() == MINE


def write_images(folder: Path, count: int) -> None:
    """A folder of two classes of flat images of varied sizes, all larger than what a step takes as it is."""
    import cv2

    for split, images in (("train", count), ("test", 4)):
        for number in range(images):
            path = folder / split / ("dark", "light")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (97 + number % 7, 100 + number % 5, 3)
            cv2.imwrite(str(path), np.full(size, (40, 200)[number % 2], np.uint8))


@pytest.mark.backend
def test_images_of_all_sizes_a_bad_one_and_another_number_of_classes(here: Any, teacher: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images", 40)
    (tmp_path / "images/train/dark/10.png").write_bytes(b"no image")
    words = ("digits_teacher", f"data={tmp_path / 'images'}", "data.train=train", "data.validation=null")
    rest = ("data.on_bad_image=skip", f"student.weights={teacher}/student", "schedule.warmup_steps=2")
    done = here.run(
        "-J", *words, *rest, "duration.total_steps=12", "evaluation.train_subset=10", module="experiments.teacher"
    )
    assert done.returncode == 0, done.stderr
    assert "a neighbour stands in for 1 bad image" in done.stderr
    assert "40 images to train, 4 to test, 2 classes: dark, light; 20 training images a class" in done.stderr
    assert "4 images of test are in train too, pixel for pixel" in done.stderr
    (folder,) = (here.root / "runs").iterdir()
    card = stored.load_card(folder / "student")
    assert (card.classes, card.num_classes) == (("dark", "light"), 2)
    assert card.result["steps"] == 12
    fresh = stored.load_weights(Path(teacher) / "student", stored.load_card(Path(teacher) / "student"))
    tuned = stored.load_weights(folder / "student", card)
    name = next(name for name in tuned if not name.startswith("head/") and name.endswith("kernel"))
    # A dozen small steps away from where it began, and nowhere near other initial weights.
    assert 0 < np.abs(tuned[name] - fresh[name]).max() < 0.1
    assert tuned["head/bias"].shape == (2,)

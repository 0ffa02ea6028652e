"""`python -m experiments.study`: what is planned, chosen and trained; the same result after kills on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from experiments.figures import drawing, style, table
from experiments.run import PROGRAM
from experiments.study.__main__ import main
from experiments.sweep.__main__ import main as sweep
from experiments.tracking.folders import run_folders
from experiments.tracking.journal import last_records
from experiments.tracking.journals import InJournals
from experiments.tracking.recorder import Tracker

pytestmark = pytest.mark.backend
PROJECT = Path(__file__).parents[3]
STEPS = 12
SMALL = ("student.options.widths=[4]", "batch_size=20", "schedule.warmup_steps=1", "evaluation.batch_size=900")
GRID = ("--grid", "optimizer.lr=0.003,0.03")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, backend: str) -> tuple[str, ...]:
    """What follows the study's name; the teacher is a stored student of a few steps."""
    root = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPERIMENTS_DIR", str(root))
        labels = ("teaching=labels", "duration.total_steps=30", "evaluation.num_times=0", f"backend={backend}")
        assert PROGRAM.main(["-J", "with", "digits", *SMALL, *labels]) == 0
    teacher = run_folders(root)[0] / "student"
    own = (f"teacher={teacher}", "teacher.min_accuracy=0", f"duration.total_steps={STEPS}", "evaluation.num_times=3")
    return ("with", "digits", *SMALL, *own, f"backend={backend}", "log_every=1", "checkpoint_steps=1")


@pytest.fixture(scope="module")
def whole(words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nobody disturbed."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPERIMENTS_DIR", str(root))
        patch.setattr(drawing, "FORMATS", {style.LIGHT: ("svg",)})
        assert main(study(words, root)) == 0
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    monkeypatch.setattr(drawing, "FORMATS", {style.LIGHT: ("svg",)})
    return tmp_path / "e"


def study(words: tuple[str, ...], root: Path, *more: str) -> list[str]:
    """Labels and function matching, two seeds, two learning rates: 9 runs."""
    flags = ("-J", "--durations", str(STEPS), "--seeds", "0,1", "--output", str(root / "figures"))
    return ["labels", *words, *flags, *GRID, *more]


def numbers(root: Path) -> pd.DataFrame:
    """What was drawn, whatever the runs are called."""
    return table.read(root / "figures" / "labels-digits.csv")[0].drop(columns="run")


def statuses(root: Path) -> list[str]:
    return sorted(
        record["status"]
        for folder in run_folders(root)
        for record in [each for each in last_records(folder) if each["type"] == "ended"][-1:]
    )


def test_what_is_drawn_was_chosen_on_validation_data(whole: Path) -> None:
    documents = InJournals(whole).latest({})
    assert statuses(whole) == ["COMPLETED"] * 9
    frame, about = table.read(whole / "figures" / "labels-digits.csv")
    by_uid = {document["uid"]: document for document in documents}
    drawn = {
        by_uid[uid]["config"]["teaching"]: by_uid[uid]["config"]["optimizer"]["lr"] for uid in {*frame["run"]} - {""}
    }
    tried: dict[str, dict[float, float]] = {}
    for document in documents:
        config, result = document["config"], document["result"]
        if config["seed"] == 0 and config["views"]["mixup"] != 0.0:
            accuracy = result["validation"]["student"]["accuracy"]
            tried.setdefault(config["teaching"], {})[config["optimizer"]["lr"]] = accuracy
    assert set(tried) == {"same/ic,mix", "labels"}
    for teaching, accuracies in tried.items():
        assert set(accuracies) == {0.003, 0.03}
        if teaching != "labels":
            assert accuracies[drawn[teaching]] == max(accuracies.values())
    assert "Settings were chosen on validation data from one grid for all (2 learning rates; seed 0" in about["caption"]
    assert len(frame[frame["finished"] == 1]["run"].unique()) == 6


def test_nothing_is_trained_twice(
    whole: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(whole))
    monkeypatch.setattr(drawing, "FORMATS", {style.LIGHT: ("svg",)})
    before = numbers(whole)
    (whole / "figures" / "labels-digits.csv").unlink()
    assert main(study(words, whole)) == 0
    told = capsys.readouterr().err
    assert "9 finished; 0 to train in 0 groups" in told
    assert len(run_folders(whole)) == 9
    pd.testing.assert_frame_equal(numbers(whole), before)
    # Another seed is trained alone, with what was chosen.
    assert main([*study(words, whole, "--dry-run"), "--seeds", "0,1,2"]) == 0
    assert "9 finished; 3 to train in 3 groups" in capsys.readouterr().out
    assert len(run_folders(whole)) == 9


def test_runs_of_a_sweep_are_found(
    words: tuple[str, ...], root: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With other evaluations, which determine nothing of a student."""
    own = [word for word in words[1:] if not word.startswith("evaluation.num_times")]
    over = ["over", "optimizer.lr=0.003,0.03", "with", *own, "teaching=funmatch", "evaluation.num_times=1"]
    assert sweep(["-J", *over, "seed=0"]) == 0
    capsys.readouterr()
    assert main(study(words, root, "--dry-run")) == 0
    told = capsys.readouterr().out
    assert "2 finished; 7 to train" in told
    assert "same/ic,mix: optimizer.lr=" in told
    assert len(run_folders(root)) == 2


def test_a_stopped_study_goes_on(
    words: tuple[str, ...],
    root: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After Ctrl-C in each of its stages: the students of the first two groups, then one of the last."""
    metrics = Tracker.metrics

    def stop_at(count: int) -> None:
        seen = [0]

        def telling(self: Tracker, step: int, *rest: object, **others: object) -> None:
            metrics(self, step, *rest, **others)  # type: ignore[arg-type]
            seen[0] += 1
            if seen[0] == count:
                monkeypatch.setattr(Tracker, "metrics", metrics)
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Tracker, "metrics", telling)

    stop_at(20)
    assert main(study(words, root)) == 130
    assert "the same command again continues: python -m experiments.study labels" in capsys.readouterr().err
    assert not (root / "figures").exists()
    stop_at(30)
    assert main(study(words, root)) == 130
    assert "begun" in capsys.readouterr().err
    assert main(study(words, root)) == 0
    assert statuses(root).count("COMPLETED") == 9
    pd.testing.assert_frame_equal(numbers(root).drop(columns="state"), numbers(whole).drop(columns="state"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_that_is_killed_at_random_comes_to_the_same_result(
    words: tuple[str, ...], tmp_path: Path, whole: Path
) -> None:
    root, moments = tmp_path / "killed", random.Random(0)
    environment = {**os.environ, "EXPERIMENTS_DIR": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "experiments.study", *study(words, root)]
    killed = 0
    for _ in range(20):
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True)
        # Until something is trained there is nothing to lose.
        before, wanted = _points(root), moments.randint(1, 25)
        while process.poll() is None and (killed == 2 or _points(root) < before + wanted):
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
            killed += 1
        _, told = process.communicate()
        if process.returncode >= 0:
            break
    assert process.returncode == 0, told
    assert killed == 2
    assert statuses(root).count("COMPLETED") == 9
    pd.testing.assert_frame_equal(numbers(root), numbers(whole))


def _points(root: Path) -> int:
    """How many lines of metrics the journals have."""
    return sum(path.read_bytes().count(b'{"type": "metrics"') for path in root.glob("runs/*/journal.jsonl"))


def test_mistakes_leave_no_run(words: tuple[str, ...], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in {
        ("teachings", "with", "digits"): "did you mean 'teaching'",
        (): "which study?",
        ("teaching", "digits"): "after 'with'",
        ("teaching", "with", "digitss"): "did you mean 'digits'",
        ("teaching", "with", "digits", "teaching=fix/rs"): "the study itself compares",
        ("teaching", "with", "digits", "seed=3"): "--seeds",
        ("teaching", "with", "digits", "optimizer.lrr=3"): "did you mean",
        ("teaching", "with", "digits", "--durations", "1e3,x"): "expected numbers",
        ("teaching", "with", "digits", "--durations", "0"): "more than 0",
        ("teaching", "with", "digits", "--seeds", "0-2"): "expected whole numbers",
        ("teaching", "with", "digits", "--grid", "optimizer.lr"): "KEY=VALUE,VALUE",
        ("teaching", "with", "digits", "--grid", "seed=1,2"): "a key of optimizer, schedule or loss",
        ("teaching", "with", "digits", "optimizer.lr=1e-3", "--grid", "optimizer.lr=1,2"): "given twice",
        ("teaching", "with", "digits", "--domains", "glyphs"): "for the study of domains",
        ("domain", "with", "digits", "--domains", "digits"): "the data set itself",
        ("teaching", "with", "digits_labels"): "needs a teacher",
        ("teaching", "with", "digits", "schedule.warmup_steps=3000"): "warmup_steps",
    }.items():
        assert main(["-J", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert told in error, error
        assert len(error.strip().splitlines()) <= 3
    assert not root.exists() or run_folders(root) == []

"""`python -m experiments.sweep` in this process: each student is the one trained alone, whatever the others do."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.run import PROGRAM
from experiments.sweep.__main__ import main
from experiments.tracking.folders import run_folders
from experiments.tracking.journal import read_journal
from experiments.tracking.recorder import Tracker
from framework.files.checkpoints import Checkpoints
from tests.experiments.models import TEACHER

pytestmark = pytest.mark.backend
STEPS, STOP = 8, 3
# It fails when it is built again, and goes well before, when its size is looked at.
ONCE = """
calls = []

def once(num_classes, image_size):
    calls.append(1)
    if len(calls) > 1:
        raise MemoryError("out of luck")
    return build(num_classes, image_size)
"""
OVER = ("over", "optimizer.lr=0.01,1e35", "student.options.widths=[4],[6]")


def images() -> Any:
    """A DatasetDict of three classes of noisy grey images."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rng = np.random.default_rng(0)

    def split(count: int) -> Any:
        labels = [number % 3 for number in range(count)]
        pixels = [rng.integers(60 * label, 60 * label + 90, (9, 8, 3), dtype=np.uint8) for label in labels]
        return datasets.Dataset.from_dict({"image": pixels, "label": labels}, features=features)

    return datasets.DatasetDict(train=split(20), validation=split(6), test=split(6))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, backend: str) -> Any:
    """What follows `with`."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sweeping_teacher.py").write_text(TEACHER + ONCE)
    images().save_to_disk(folder / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield (
            "digits",
            f"backend={backend}",
            f"data={folder / 'images'}",
            "teacher=sweeping_teacher:build",
            f"duration.total_steps={STEPS}",
            "schedule.warmup_steps=0",
            "batch_size=6",
            "evaluation.num_times=2",
            "evaluation.train_subset=6",
            "log_every=1",
        )


@pytest.fixture(scope="module")
def whole(words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of four students, of whom two diverge."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPERIMENTS_DIR", str(root))
        files = ("--json", str(root / "out.json"), "--csv", str(root / "out.csv"))
        assert main(["-J", *OVER, "with", *words, *files]) == 0
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    return tmp_path / "e"


def ends(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """The last state of each student, by its label."""
    found = {}
    for folder in run_folders(root):
        fields = fields_of(folder)
        label = " ".join(f"{key}={value}" for key, value in fields.get("sweep_point", {}).items())
        if Checkpoints(folder / "checkpoints").paths():
            found[label] = Checkpoints(folder / "checkpoints").load()[0]
    return found


def fields_of(folder: Path) -> dict[str, Any]:
    return {k: v for each in read_journal(folder) if each["type"] == "fields" for k, v in each["fields"].items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert list(one) == list(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def statuses(root: Path) -> list[str]:
    return [
        [each["status"] for each in read_journal(folder) if each["type"] == "ended"][-1] for folder in run_folders(root)
    ]


def test_each_student_is_the_one_that_is_trained_alone(whole: Path, words: tuple[str, ...], root: Path) -> None:
    alone = ("optimizer.lr=0.01", "student.options.widths=[6]")
    assert PROGRAM.main(["-J", "with", *words, *alone]) == 0
    same(ends(root)[""], ends(whole)[" ".join(alone)])
    [single] = [read_journal(folder) for folder in run_folders(root)]
    record = next(each for each in json.loads((whole / "out.json").read_text()) if " ".join(alone) == label(each))
    journal = read_journal(whole / "runs" / record["uid"])
    curves = [
        {(each["step"], name): v for each in records if each["type"] == "metrics" for name, v in each["values"].items()}
        for records in (single, journal)
    ]
    assert curves[0] == curves[1]
    result = next(each["result"] for each in reversed(single) if each["type"] == "ended" and each.get("result"))
    assert record["result"]["test"] == result["test"]
    assert record["result"]["steps"] == STEPS


def label(record: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in record["point"].items())


def test_a_student_that_diverges_ends_alone(whole: Path) -> None:
    records = json.loads((whole / "out.json").read_text())
    assert [each["status"] for each in records] == ["COMPLETED"] * 2 + ["DIVERGED"] * 2
    assert all("the loss is" in each["told"] for each in records[2:])
    by_uid = dict(zip([folder.name for folder in run_folders(whole)], statuses(whole), strict=True))
    assert [by_uid[each["uid"]] for each in records] == ["COMPLETED"] * 2 + ["FAILED"] * 2
    # The best is the first, by validation.
    accuracies = [each["result"]["validation"]["student"]["accuracy"] for each in records[:2]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert [each["best"] for each in records] == [True, False, False, False]
    with open(whole / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == [each["status"] for each in records]
    assert float(rows[0]["test accuracy"]) == records[0]["result"]["test"]["student"]["accuracy"]


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`stopping(signal)`: the process gets the signal in step 3 of the first student, when step 2 is told."""

    def at(number: int) -> None:
        metrics = Tracker.metrics

        def telling(self: Tracker, step: int, *rest: Any, **others: Any) -> None:
            metrics(self, step, *rest, **others)
            if step == STOP - 1:
                monkeypatch.setattr(Tracker, "metrics", metrics)
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Tracker, "metrics", telling)

    return at


def test_a_preempted_sweep_goes_on_to_the_same_end(
    whole: Path, words: tuple[str, ...], root: Path, stopping: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    over = ("over", "optimizer.lr=0.01", "student.options.widths=[4],[6]", "loss.temperature=1")
    stopping(signal.SIGTERM)
    assert main(["-J", *over, "with", *words]) == 75
    assert "with resume=" in capsys.readouterr().err
    assert statuses(root) == ["PREEMPTED"] * 2
    # The second one had not yet had its turn: on the way on it comes first.
    assert sorted(int(state["step"]) for state in ends(root).values()) == [STOP - 1, STOP]
    assert main(["-J", "with", "resume=latest"]) == 0
    assert statuses(root) == ["PREEMPTED"] * 2 + ["COMPLETED"] * 2
    for name, state in ends(root).items():
        same(state, ends(whole)[name.removesuffix(" loss.temperature=1")])
    later = run_folders(root)[2:]
    assert sorted(fields_of(folder)["resumed_at"] for folder in later) == [STOP - 1, STOP]
    for folder in later:
        steps = [each["step"] for each in read_journal(folder) if "train.loss" in each.get("values", {})]
        assert steps == list(range(fields_of(folder)["resumed_at"] + 1, STEPS + 1))
    assert len({fields_of(folder)["sweep"] for folder in run_folders(root)}) == 1
    count = len(run_folders(root))
    assert main(["-J", "with", "resume=latest"]) == 0
    assert len(run_folders(root)) == count
    told = capsys.readouterr()
    assert "is finished: there is nothing to do" in told.err
    assert "best by validation accuracy" in told.out


def test_groups_and_parts_one_after_the_other(
    words: tuple[str, ...], root: Path, stopping: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not begun when Ctrl-C came is begun by the resume; students of one group may end at different steps."""
    rest = [word for word in words if not word.startswith(("teacher", "duration"))]
    over = ("over", "seed=0,1", "duration.total_steps=4,5")
    stopping(signal.SIGINT)
    assert main(["-J", *over, "with", *rest, "teaching=labels"]) == 130
    assert statuses(root) == ["INTERRUPTED"] * 2
    capsys.readouterr()
    assert main(["-J", "with", "resume=latest", "--group-size", "1"]) == 0
    told = capsys.readouterr().err
    for done in (1, 2, 3):
        assert re.search(rf"^{done} of 4 students, about \d+ s left$", told, re.MULTILINE)
    assert "4 of 4" not in told
    assert statuses(root) == ["INTERRUPTED"] * 2 + ["COMPLETED"] * 4
    assert sorted(int(state["step"]) for state in ends(root).values()) == [4, 4, 5, 5]


def left(root: Path) -> set[str]:
    """What is in the folder of runs beside the cache."""
    return {path.name for path in root.glob("*")} - {"cache"}


def test_what_cannot_begin_is_refused_before_anything_is_trained(
    words: tuple[str, ...], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The logs go to a server of our own here, which doesn't even start."""
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"no weights")
    assert main(["over", f"student.weights=null,{damaged}", "with", *words]) == 2
    assert f"experiments.sweep: student.weights={damaged}: " in capsys.readouterr().err
    assert main(["over", "optimizer.lr=0.01,0.02", "with", *words, "teacher.min_accuracy=1"]) == 2
    assert "below teacher.min_accuracy = 1" in capsys.readouterr().err
    assert left(root) == set()


def test_what_cannot_begin_later_is_left_out(
    words: tuple[str, ...], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When others are trained already."""
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"no weights")
    over = ("over", f"student.weights=null,{damaged}")
    assert main(["-J", *over, "with", *words, "--group-size", "1"]) == 1
    told = capsys.readouterr().err
    assert f"1 of 2 students failed, student.weights={damaged}: " in told
    assert "the other students continue" in told
    assert statuses(root) == ["COMPLETED"]
    assert main(["-J", "with", "resume=latest"]) == 2
    assert f"student.weights={damaged}: " in capsys.readouterr().err


def test_a_fault_in_one_student_ends_it_alone(
    words: tuple[str, ...], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here when its model is built for good; a look at its size went well."""
    assert main(["-J", "over", "student=convnet,sweeping_teacher:once", "with", *words]) == 1
    assert statuses(root) == ["COMPLETED", "FAILED"]
    assert (
        "student=sweeping_teacher:once: MemoryError: out of luck; the other students continue"
        in capsys.readouterr().err
    )


def test_ctrl_c_while_the_next_are_prepared_leaves_what_there_is(
    words: tuple[str, ...], root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments.sweep import session

    gather, asked = session.gather, []

    def gathering(*rest: Any, **others: Any) -> Any:
        asked.append(1)
        if len(asked) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return gather(*rest, **others)

    monkeypatch.setattr(session, "gather", gathering)
    over = ("-J", "over", "seed=0,1", "with", *words)
    at = 1
    assert main(over) == 130
    assert left(root) == set()
    assert "to resume" not in capsys.readouterr().err
    asked.clear()
    at = 2
    assert main(over) == 130
    assert statuses(root) == ["COMPLETED"]
    assert "to resume: python -m experiments.sweep with resume=" in capsys.readouterr().err
    assert main(["-J", "with", "resume=latest"]) == 0
    assert statuses(root) == ["COMPLETED"] * 2


def test_mistakes_leave_no_run(words: tuple[str, ...], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = {
        "loss.distance=kl,kll": "did you mean 'kl'",
        "optimizer.lrr=1": "did you mean 'lr'",
        "student.options.widths=[4],[0]": "widths=[0] must be positive whole numbers",
    }
    for over, told in mistakes.items():
        assert main(["-J", "over", over, "with", *words, "--group-size", "2"]) == 2
        assert told in capsys.readouterr().err
    assert left(root) == set()

"""What the journals answer where there is no database; where there is one, the same as it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from experiments.command.options import check_chosen
from experiments.tracking import queries
from experiments.tracking.fields import conditions, matches
from experiments.tracking.folders import new_run_folder, run_folders
from experiments.tracking.journals import InJournals
from experiments.tracking.mongod import Destination
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder
from experiments.tracking.values import Mongo
from framework.errors import UserError
from framework.spec import DistillSpec

RUNS: tuple[dict[str, Any], ...] = (
    {"backend": "jax", "seed": 0, "accuracy": 0.70},
    {"backend": "jax", "seed": 1, "accuracy": 0.74},
    {"backend": "torch", "seed": 0, "accuracy": 0.72},
    {"backend": "torch", "seed": 0, "accuracy": None},
)


def journaled(root: Path, backend: str, seed: int, accuracy: float | None, **fields: Any) -> str:
    with JournalRecorder(new_run_folder(root)) as recorder:
        config = {
            "backend": backend,
            "seed": seed,
            "student": {"options": {"widths": [8, 16]}},
            "views": {"flip": True},
        }
        recorder.record("run", experiment={"name": "run"}, command="main", host={}, config=config, meta={})
        recorder.annotate(**fields)
        recorder.started(config, {"fingerprint": f"f{seed}", "fingerprint_no_seed": "f"})
        for step in (1, 2, 2, 3):
            recorder.metrics(step, {"train.loss": 1.0 / step}, at=1e9 + step)
        if accuracy is not None:
            recorder.ended("COMPLETED", {"test": {"student": {"accuracy": accuracy}, "teacher": {"accuracy": 0.9}}})
    return recorder.uid


@pytest.fixture
def uids(tmp_path: Path) -> list[str]:
    return [journaled(tmp_path, **run) for run in RUNS]


def test_runs_are_listed_shown_and_compared(tmp_path: Path, uids: list[str]) -> None:
    runs = InJournals(tmp_path)
    assert queries.list_runs(runs)["id"].tolist() == uids
    assert queries.list_runs(runs, last=1)["id"].tolist() == uids[3:]
    assert queries.list_runs(runs)["status"].tolist() == ["COMPLETED"] * 3 + ["DEAD"]
    assert queries.best(runs)["id"].tolist() == [uids[1], uids[2], uids[0]]
    shown = queries.show(runs, uids[1]).set_index("field")["value"]
    assert (shown["config.seed"], shown["metrics"]) == (1, ["train.loss"])
    compared = queries.compare(runs, [uids[0], uids[2]])
    assert compared.loc["config"].to_dict("index") == {"backend": {uids[0]: "jax", uids[2]: "torch"}}
    assert queries.by_fingerprint(runs)["runs"].tolist() == [2, 1]
    with pytest.raises(UserError, match=f"no run '17'; the latest are: {uids[3]}, {uids[2]}"):
        queries.find_run(runs, 17)
    with pytest.raises(UserError, match="could be"):
        queries.find_run(runs, uids[0][:8])


def test_a_run_is_found_by_the_id_that_it_was_given(tmp_path: Path, uids: list[str]) -> None:
    for uid, called in zip(uids, (77, "my.run"), strict=False):
        with JournalRecorder(tmp_path / "runs" / uid) as recorder:
            recorder.record("id", id=called)
    runs = InJournals(tmp_path)
    assert [queries.find_run(runs, name)["uid"] for name in ("77", "my.run")] == uids[:2]
    assert queries.find_run(runs, "latest")["uid"] == uids[-1]
    for taken in ("77", "my.run"):
        with pytest.raises(UserError, match=f"--id {taken}: there is a run {taken} already"):
            check_chosen({"--id": taken}, DistillSpec(), tmp_path, None, True)
    check_chosen({"--id": "78"}, DistillSpec(), tmp_path, None, True)


def test_curves_go_through_all_segments(tmp_path: Path, uids: list[str]) -> None:
    later = journaled(tmp_path, "jax", 0, 0.8, resumed_from=uids[0], resumed_at=1)
    frame = queries.curves(InJournals(tmp_path), [uids[0]])
    assert frame["step"].tolist() == [1, 2, 3]
    assert frame["value"].tolist() == [1.0, 0.5, 1 / 3]
    assert [
        each["uid"] for each in queries.segments(InJournals(tmp_path), {"uid": later, "resumed_from": uids[0]})
    ] == [
        uids[0],
        later,
    ]


def test_a_run_that_is_being_written_is_running(tmp_path: Path) -> None:
    with JournalRecorder(new_run_folder(tmp_path)) as recorder:
        recorder.started({"seed": 0}, {})
        assert queries.list_runs(InJournals(tmp_path))["status"].tolist() == ["RUNNING"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(tmp_path: Path, uids: list[str]) -> None:
    (run_folders(tmp_path)[0] / "journal.jsonl").chmod(0)
    assert queries.list_runs(InJournals(tmp_path))["id"].tolist() == uids[1:]


def test_no_runs_make_no_folder(tmp_path: Path) -> None:
    assert len(queries.list_runs(InJournals(tmp_path / "none"))) == 0
    assert not (tmp_path / "none").exists()


CONDITIONS = (
    ["config.backend=jax"],
    ["backend!=jax"],
    ["seed>=1"],
    ["seed<1", "status=COMPLETED"],
    ["student.accuracy>0.7"],
    ["student.accuracy=null"],
    ["student.accuracy!=null"],
    ["backend~^to"],
    ["backend>k"],
    ["backend=3"],
    ["seed=true"],
    ["seed=0.0"],
    ["flip=true"],
    ["flip=1"],
    ["widths=8"],
    ["widths!=8"],
    ["widths=[8, 16]"],
    ["widths>10"],
)


@pytest.mark.parametrize("where", CONDITIONS, ids=" ".join)
@pytest.mark.mongod
def test_the_database_and_the_journals_agree(where: list[str], both: tuple[Mongo, InJournals]) -> None:
    found = [queries.list_runs(source, where)["uid"].tolist() for source in both]
    assert found[0] == found[1]


@pytest.fixture
def both(destination: Destination, tmp_path: Path, uids: list[str]) -> tuple[Mongo, InJournals]:
    assert destination.database is not None
    for folder in run_folders(tmp_path):
        replay(folder, destination.database)
    return destination.database, InJournals(tmp_path)


@pytest.mark.parametrize(
    ("where", "met"),
    [
        (["a=1"], True),
        (["a=true"], False),
        (["a!=true"], True),
        (["a>0", "a<=1"], True),
        (["a>1"], False),
        (["b.c~^x"], True),
        (["b.c=null"], False),
        (["b.d=2"], True),
        (["b.d=[1, 2]"], True),
        (["b.d!=2"], False),
        (["e=null"], True),
    ],
)
def test_conditions_in_python(where: list[str], met: bool) -> None:
    document = {"a": 1, "b": {"c": "xy", "d": [1, 2]}}
    assert matches(document, conditions(where, ["a", "b.c", "b.d", "e"])) is met

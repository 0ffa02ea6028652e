"""What Sacred, the journal and the caller hear of the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.command import sacred_run
from experiments.command.sacred_run import Ended, Failed
from experiments.tracking.folders import new_run_folder
from experiments.tracking.journal import is_alive, read_journal
from experiments.tracking.mongod import Destination, open_database
from experiments.tracking.recorder import Tracker
from experiments.tracking.snapshot import DIFF, PROJECT, Store, project_files
from framework.errors import UserError
from framework.protocols import Outcome


def raising(error: BaseException) -> Callable[[], Outcome]:
    def train() -> Outcome:
        raise error

    return train


def run(folder: Path, train: Callable[[], Outcome], **flags: Any) -> tuple[BaseException | None, list[dict[str, Any]]]:
    experiment = sacred_run.make("experiments.some")
    experiment.add_config({"seed": 3})
    folder.mkdir(parents=True)
    tracker = Tracker(folder, Destination(folder.parent))
    meta = {"named_configs": ["digits"], "config_updates": {}}
    options = {"--comment": "a word"} | {f"--{name}": value for name, value in flags.items()}
    error = sacred_run.run(experiment, tracker, train, options, meta, project_files())
    return error, list(read_journal(folder))


def last(records: list[dict[str, Any]]) -> dict[str, Any]:
    return [record for record in records if record["type"] == "ended"][-1]


def test_a_completed_run_has_its_result_and_sources(tmp_path: Path) -> None:
    error, records = run(tmp_path / "runs" / "a", lambda: Outcome("COMPLETED", 4, {"steps": np.int64(4)}))
    assert error is None
    assert (last(records)["status"], last(records)["result"]) == ("COMPLETED", {"steps": 4})
    (started,) = [record for record in records if record["type"] == "run"]
    assert (started["experiment"]["name"], started["command"], started["config"]["seed"]) == ("some", "main", 3)
    assert started["meta"]["comment"] == "a word"
    sources = dict(started["experiment"]["sources"])
    assert sources.keys() >= {"experiments/tracking/journal.py", "framework/losses.py", "backends/trainer.py"}
    content = Store.of(tmp_path / "runs" / "a").get(sources["framework/losses.py"])
    assert content == (PROJECT / "framework/losses.py").read_bytes()
    packages = {text.partition("==")[0] for text in started["experiment"]["dependencies"]}
    assert packages >= {"keras", "numpy", "datasets", "sacred", "pymongo"}


@pytest.mark.parametrize(
    ("train", "kind", "status"),
    [
        (lambda: Outcome("PREEMPTED", 2), Ended, "PREEMPTED"),
        (lambda: Outcome("INTERRUPTED", 0, error=KeyboardInterrupt()), Ended, "INTERRUPTED"),
        (lambda: Outcome("FAILED", 2, error=FloatingPointError("nan")), Failed, "FAILED"),
        (raising(ValueError("elsewhere")), ValueError, "FAILED"),
        (raising(KeyboardInterrupt()), KeyboardInterrupt, "INTERRUPTED"),
    ],
)
def test_other_ends(train: Any, kind: type[BaseException], status: str, tmp_path: Path) -> None:
    error, records = run(tmp_path / "runs" / "a", train)
    assert isinstance(error, kind)
    assert last(records)["status"] == status
    assert getattr(error, "STATUS", status) == status


def test_a_fault_has_its_cause(tmp_path: Path) -> None:
    cause = FloatingPointError("nan")
    error, records = run(tmp_path / "runs" / "a", lambda: Outcome("FAILED", 2, error=cause))
    assert error is not None
    assert error.__cause__ is cause
    assert any("FloatingPointError: nan" in line for line in last(records)["fail_trace"])


def test_the_tracker_is_closed_at_a_way_out_that_nobody_catches(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path / "runs" / "a", raising(SystemExit(3)))
    assert not is_alive(tmp_path / "runs" / "a")


def test_a_machine_without_git_or_with_a_hanging_card_keeps_no_run_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    card = tmp_path / "bin" / "nvidia-smi"
    card.write_text("#!/bin/sh\necho '<log><gpu><fb_memory_usage><total>N/A</total></fb_memory_usage></gpu></log>'")
    card.chmod(0o755)
    monkeypatch.setenv("PATH", str(card.parent))
    sacred_run._machine.cache_clear()
    error, records = run(tmp_path / "runs" / "a", lambda: Outcome("COMPLETED", 4))
    sacred_run._machine.cache_clear()
    assert error is None
    (started,) = [record for record in records if record["type"] == "run"]
    assert started["host"]["notes"] == {"git": "there is no git on the PATH"}
    assert started["host"]["gpus"]["gpus"][0]["total_memory"] is None
    assert started["experiment"]["repositories"] == []


def test_the_commit_of_the_sources_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"url": "u", "commit": "c", "dirty": True, "changed": ["a"], "diff": "+ token=abcdefgh1\n"}
    monkeypatch.setattr(sacred_run.machine, "repository", lambda folder, limit: found)
    sacred_run._machine.cache_clear()
    _, records = run(tmp_path / "runs" / "a", lambda: Outcome("COMPLETED", 4))
    sacred_run._machine.cache_clear()
    (started,) = [record for record in records if record["type"] == "run"]
    assert started["experiment"]["repositories"] == [{"url": "u", "commit": "c", "dirty": True}]
    kept = dict(started["experiment"]["sources"])[DIFF]
    assert Store.of(tmp_path / "runs" / "a").get(kept) == b"+ token=***\n"


@pytest.mark.parametrize("flags", [{"file_storage": "/dev/null/x"}, {"capture": "no such"}, {"priority": "no number"}])
def test_what_sacred_refuses_to_begin_leaves_no_run(flags: dict[str, str], tmp_path: Path) -> None:
    trained: list[int] = []
    with pytest.raises(UserError, match="Sacred can't begin the run: "):
        run(tmp_path / "runs" / "a", lambda: trained.append(1) or Outcome("COMPLETED", 4), **flags)  # type: ignore[func-returns-value]
    assert (trained, list((tmp_path / "runs").iterdir())) == ([], [])


@pytest.mark.mongod
def test_nor_does_it_in_a_database(tmp_path: Path) -> None:
    with open_database(None, False, tmp_path, required=True) as destination:
        folder = new_run_folder(tmp_path)
        tracker = Tracker(folder, destination)
        assert tracker.publish() == 1
        tracker.abandon()
        assert destination.database is not None
        assert (destination.database.runs.count_documents({}), folder.exists()) == (0, False)


def test_an_observer_that_fails_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no room")

    monkeypatch.setattr(sacred_run._Files, "completed_event", fail)
    error, _ = run(tmp_path / "runs" / "a", lambda: Outcome("COMPLETED", 4), file_storage=str(tmp_path / "files"))
    assert error is None
    assert capsys.readouterr().err == "warning: Sacred: ValueError: no room\n"


def test_what_sacred_logs_is_printed_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "runs" / "a", lambda: Outcome("COMPLETED", 4))
    assert capsys.readouterr().err == ""
    run(tmp_path / "runs" / "b", lambda: Outcome("COMPLETED", 4), loglevel="info")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "INFO - sacred.experiments.some.some - Running command 'main'"


def test_files_under_a_number_that_is_taken_are_under_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "files" / "a").mkdir(parents=True)
    run(tmp_path / "runs" / "a", lambda: Outcome("COMPLETED", 4), file_storage=str(tmp_path / "files"))
    assert {path.name for path in (tmp_path / "files").iterdir()} == {"a", "1", "_sources"}
    assert any(path.name.startswith("losses_") for path in (tmp_path / "files" / "_sources").iterdir())

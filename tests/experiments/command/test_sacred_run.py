"""What Sacred, the journal and the caller hear of the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.command import sacred_run
from experiments.command.sacred_run import Ended, Failed
from experiments.tracking.journal import is_alive, read_journal
from experiments.tracking.mongod import Destination
from experiments.tracking.recorder import Tracker
from framework.protocols import Outcome


def raising(error: BaseException) -> Callable[[], Outcome]:
    def train() -> Outcome:
        raise error

    return train


def run(folder: Path, train: Callable[[], Outcome]) -> tuple[BaseException | None, list[dict[str, Any]]]:
    experiment = sacred_run.make("experiments.some")
    experiment.add_config({"seed": 3})
    folder.mkdir()
    tracker = Tracker(folder, Destination(folder.parent))
    meta = {"named_configs": ["digits"], "config_updates": {}}
    error = sacred_run.run(experiment, tracker, train, {"--comment": "a word"}, meta)
    return error, list(read_journal(folder))


def last(records: list[dict[str, Any]]) -> dict[str, Any]:
    return [record for record in records if record["type"] == "ended"][-1]


def test_a_completed_run_has_its_result_and_sources(tmp_path: Path) -> None:
    error, records = run(tmp_path / "a", lambda: Outcome("COMPLETED", 4, {"steps": np.int64(4)}))
    assert error is None
    assert (last(records)["status"], last(records)["result"]) == ("COMPLETED", {"steps": 4})
    (started,) = [record for record in records if record["type"] == "run"]
    assert (started["experiment"]["name"], started["command"], started["config"]["seed"]) == ("some", "main", 3)
    assert started["meta"]["comment"] == "a word"
    # Those of all the rooms, not of one.
    sources = {name for name, _ in started["experiment"]["sources"]}
    assert sources >= {"command/sacred_run.py", "tracking/journal.py"}


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
    error, records = run(tmp_path / "a", train)
    assert isinstance(error, kind)
    assert last(records)["status"] == status
    assert getattr(error, "STATUS", status) == status


def test_a_fault_has_its_cause(tmp_path: Path) -> None:
    cause = FloatingPointError("nan")
    error, records = run(tmp_path / "a", lambda: Outcome("FAILED", 2, error=cause))
    assert error is not None
    assert error.__cause__ is cause
    assert any("FloatingPointError: nan" in line for line in last(records)["fail_trace"])


def test_the_tracker_is_closed_at_a_way_out_that_nobody_catches(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path / "a", raising(SystemExit(3)))
    assert not is_alive(tmp_path / "a")


def test_a_machine_without_git_or_with_a_hanging_card_keeps_no_run_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    card = tmp_path / "bin" / "nvidia-smi"
    card.write_text("#!/bin/sh\necho '<log><gpu><fb_memory_usage><total>N/A</total></fb_memory_usage></gpu></log>'")
    card.chmod(0o755)
    monkeypatch.setenv("PATH", str(card.parent))
    sacred_run._machine.cache_clear()
    error, records = run(tmp_path / "a", lambda: Outcome("COMPLETED", 4))
    sacred_run._machine.cache_clear()
    assert error is None
    (started,) = [record for record in records if record["type"] == "run"]
    assert started["host"]["notes"] == {"git": "there is no git on the PATH"}
    assert started["host"]["gpus"]["gpus"][0]["total_memory"] is None
    assert started["experiment"]["repositories"] == []


def test_the_commit_of_the_sources_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"url": "u", "commit": "c", "dirty": False}
    monkeypatch.setattr(sacred_run.machine, "repository", lambda folder, limit: found)
    sacred_run._machine.cache_clear()
    _, records = run(tmp_path / "a", lambda: Outcome("COMPLETED", 4))
    sacred_run._machine.cache_clear()
    (started,) = [record for record in records if record["type"] == "run"]
    assert started["experiment"]["repositories"] == [found]

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import gridfs
import pytest

from experiments.tracking.files import OUTPUT
from experiments.tracking.journal import JOURNAL
from experiments.tracking.mongod import Destination
from experiments.tracking.observer import SacredObserver
from experiments.tracking.recorder import Tracker

sacred = pytest.importorskip("sacred")
sacred.SETTINGS.CAPTURE_MODE = "sys"
from sacred.utils import SacredInterrupt  # noqa: E402


class Preempted(SacredInterrupt):  # type: ignore[misc]
    STATUS = "PREEMPTED"


def run(tracker: Tracker, main: Callable[..., Any], destination: Destination, **config: Any) -> dict[str, Any]:
    experiment = sacred.Experiment("distill", base_dir=str(Path(__file__).parent), save_git_info=False)
    experiment.add_config({"seed": 0, **config})
    experiment.observers.append(SacredObserver(tracker))
    experiment.main(main)
    with contextlib.suppress(SacredInterrupt, KeyboardInterrupt, RuntimeError):
        experiment.run()
    assert tracker.close() is None
    assert destination.database is not None
    found = destination.database.runs.find_one({"uid": tracker.uid})
    assert found is not None
    return dict(found)


def test_a_completed_run_in_sacreds_layout(tracker: Tracker, destination: Destination) -> None:
    import numpy as np

    def main(_run: Any, seed: int) -> dict[str, Any]:
        assert _run._id == 1
        print("first line mongodb://u:pass@h/x\nno end of line", end="")
        _run.log_scalar("own.metric", np.float32(0.5), 3)
        _run.info["note"] = np.int64(4)
        tracker.metrics(1, {"train.loss": 0.25})
        return {"accuracy": np.float64(0.75), "seed": seed}

    found = run(tracker, main, destination, uri="mongodb://ann:word@db/x", data={"name": "glyphs"})
    assert (found["_id"], found["status"], found["command"]) == (1, "COMPLETED", "main")
    assert found["config"] == {"seed": 0, "uri": "mongodb://***@db/x", "data": {"name": "glyphs"}}
    assert found["result"] == {"accuracy": 0.75, "seed": 0}
    assert found["experiment"]["name"] == "distill"
    assert found["host"]["hostname"]
    assert found["meta"]["command"] == "main"
    assert found["start_time"] <= found["stop_time"]
    assert found["info"]["note"] == 4
    assert {entry["name"] for entry in found["info"]["metrics"]} == {"own.metric", "train.loss"}
    assert "first line mongodb://***@h/x\nno end of line" in found["captured_out"]
    assert "pass" not in (tracker.folder / OUTPUT).read_text()


def test_credentials_of_remotes_options_and_addresses_are_nowhere(tracker: Tracker, destination: Destination) -> None:
    secret = "S3cretWord"
    git = {"url": f"https://oauth2:{secret}@git.example/a/b.git", "commit": "ab12", "dirty": False}
    info = {"name": "run", "base_dir": "", "sources": [], "dependencies": [], "repositories": [git, git]}
    meta = {"options": {"--mongo_db": f"mongodb://ann:{secret}@db/x", "--comment": f"token={secret}"}}
    config = {"teachers": [{"weights": f"https://bucket.example/w.npz?X-Amz-Signature={secret}"}], "api_key": secret}
    SacredObserver(tracker).started_event(info, "main", {}, datetime(2026, 1, 1), config, meta, None)
    tracker.record("warning", text=f"https://bucket.example/w.npz?sig={secret} answers 403")
    assert tracker.close() is None
    assert destination.database is not None
    (found,) = destination.database.runs.find()
    assert found["experiment"]["repositories"] == [git | {"url": "https://***@git.example/a/b.git"}]
    assert found["config"]["teachers"][0]["weights"] == "https://bucket.example/w.npz?***"
    assert secret not in str(found)
    assert secret not in (tracker.folder / JOURNAL).read_text()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Preempted(), "PREEMPTED"),
        (KeyboardInterrupt(), "INTERRUPTED"),
        (RuntimeError("mongodb://a:word@b/c"), "FAILED"),
    ],
)
def test_how_runs_end(tracker: Tracker, destination: Destination, error: BaseException, status: str) -> None:
    def main() -> None:
        tracker.ended("INTERRUPTED", {"steps": 5})
        raise error

    found = run(tracker, main, destination)
    assert (found["status"], found["result"]) == (status, {"steps": 5})
    if status == "FAILED":
        assert "RuntimeError: mongodb://***@b/c" in "".join(found["fail_trace"])


def test_sources_are_uploaded_once_for_all_runs(tracker: Tracker, destination: Destination) -> None:
    found = run(tracker, lambda: None, destination)
    from experiments.tracking.folders import new_run_folder

    with Tracker(new_run_folder(destination.root), destination) as second:
        again = run(second, lambda: None, destination)
    sources = found["experiment"]["sources"]
    assert [name for name, _ in sources] == [Path(__file__).name]
    assert again["experiment"]["sources"] == sources
    assert destination.database is not None
    assert gridfs.GridFS(destination.database).get(sources[0][1]).read() == Path(__file__).read_bytes()


def test_all_of_the_output_is_in_a_file_and_its_tail_in_the_database(
    tracker: Tracker, destination: Destination
) -> None:
    def main() -> None:
        for number in range(20_000):
            print(f"line {number}")

    found = run(tracker, main, destination)
    lines = (tracker.folder / OUTPUT).read_text().splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {number}" for number in range(20_000)]
    tail = found["captured_out"]
    assert len(tail) < 70_000
    assert "line 19999" in tail
    assert f"bytes before this are in {tracker.folder / OUTPUT}" in tail.splitlines()[0]


def test_output_that_a_filter_shortened_is_written_afresh(tracker: Tracker) -> None:
    observer = SacredObserver(tracker)
    for text in ("10 %\n", "10 %\n20 %\n", "done\n"):
        observer.heartbeat_event({}, text, None, None)  # type: ignore[arg-type]
    assert (tracker.folder / OUTPUT).read_text() == "done\n"

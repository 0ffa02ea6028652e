from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from pathlib import Path

import gridfs
import pytest

from experiments.tracking import files
from experiments.tracking.documents import CHUNK, PREVIEW
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import Destination, open_database
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import Pace, Tracker
from experiments.tracking.values import Mongo
from framework.files.arrays import digest
from framework.protocols import Recorder


def run_of(database: Mongo | None, uid: str) -> dict[str, object]:
    assert database is not None
    found = database.runs.find_one({"uid": uid})
    assert found is not None
    return dict(found)


def points(database: Mongo | None, uid: str, name: str) -> list[tuple[int, float]]:
    assert database is not None
    chunks = database.metric_chunks.find({"uid": uid, "name": name}).sort("chunk", 1)
    return [pair for chunk in chunks for pair in zip(chunk["steps"], chunk["values"], strict=True)]


def test_a_run_is_in_the_database_as_sacred_lays_it_out(tracker: Tracker, destination: Destination) -> None:
    assert isinstance(tracker, Recorder)
    tracker.started({"seed": 3, "a.b": 1}, {"backend": "jax", "fingerprint": "f", "fingerprint_no_seed": "g"})
    tracker.metrics(1, {"loss": math.nan, "other": math.inf})
    tracker.metrics(2, {"loss": 0.5})
    tracker.ended("COMPLETED", {"test": {"student": {"agreement@1": 0.5}}})
    assert tracker.close() is None
    run = run_of(destination.database, tracker.uid)
    assert run["_id"] == tracker.number == 1
    assert (run["status"], run["fingerprint"], run["fingerprint_no_seed"]) == ("COMPLETED", "f", "g")
    assert run["config"] == {"seed": 3, "a,b": 1, "backend": "jax"}
    assert run["result"] == {"test": {"student": {"agreement@1": 0.5}}}
    found = points(destination.database, tracker.uid, "loss")
    assert math.isnan(found[0][1])
    assert found[1] == (2, 0.5)
    assert points(destination.database, tracker.uid, "other") == [(1, math.inf)]


def test_previews_are_found_the_way_other_sacred_tools_look_for_them(
    tracker: Tracker, destination: Destination
) -> None:
    for step in range(5 * CHUNK + 7):
        tracker.metrics(step, {"train.loss": float(step)})
    tracker.close()
    database = destination.database
    assert database is not None
    entry = run_of(database, tracker.uid)["info"]["metrics"][0]  # type: ignore[index]
    preview = database.metrics.find_one({"run_id": tracker.number, "name": "train.loss"})
    assert preview is not None
    assert entry == {"name": "train.loss", "id": str(preview["_id"])}
    assert len(preview["steps"]) == len(preview["values"]) == len(preview["timestamps"]) <= PREVIEW
    assert preview["steps"][-1] == 5 * CHUNK + 6
    assert points(database, tracker.uid, "train.loss") == [(step, float(step)) for step in range(5 * CHUNK + 7)]


def test_a_hundred_thousand_points(destination: Destination) -> None:
    with Tracker(new_run_folder(destination.root), destination, Pace(interval=0.05, close=60.0)) as tracker:
        for step in range(100_000):
            tracker.metrics(step, {"loss": 1.0 / (step + 1)})
    assert tracker.note is None
    assert points(destination.database, tracker.uid, "loss") == [(step, 1.0 / (step + 1)) for step in range(100_000)]


@pytest.mark.usefixtures("binary")
def test_a_server_killed_in_mid_run_loses_no_point_and_doubles_none(tmp_path: Path) -> None:
    with open_database(None, False, tmp_path, required=True) as destination:
        server = EmbeddedServer(tmp_path)
        with Tracker(new_run_folder(tmp_path), destination, Pace(interval=0.02, close=60.0)) as tracker:
            tracker.publish()
            pids = set()
            for step in range(6_000):
                tracker.metrics(step, {"loss": float(step)})
                if step in (1_500, 3_500):
                    pids.add(server.state()["pid"])
                    os.kill(server.state()["pid"], signal.SIGKILL)
                    deadline = time.monotonic() + 60.0
                    while server.state().get("pid") in (None, *pids) and time.monotonic() < deadline:
                        time.sleep(0.05)
            tracker.ended("COMPLETED", {})
        assert tracker.note is None
        assert len(pids) == 2
        found = points(destination.database, tracker.uid, "loss")
        assert Counter(step for step, _ in found) == Counter(range(6_000))
        assert run_of(destination.database, tracker.uid)["status"] == "COMPLETED"


@pytest.mark.usefixtures("binary")
def test_a_server_that_was_stopped_is_started_again_for_the_end_of_the_run(tmp_path: Path) -> None:
    with open_database(None, False, tmp_path, required=True) as destination:
        tracker = Tracker(new_run_folder(tmp_path), destination, Pace(interval=0.02, push=1.0, close=60.0))
        tracker.metrics(1, {"loss": 1.0})
        tracker.publish()
        assert EmbeddedServer(tmp_path).stop()
        tracker.metrics(2, {"loss": 2.0})
        tracker.ended("COMPLETED", {})
        assert tracker.close() is None
        assert points(destination.database, tracker.uid, "loss") == [(1, 1.0), (2, 2.0)]


@pytest.mark.usefixtures("binary")
def test_a_server_that_does_not_come_back_costs_one_line_and_a_replay_mends_it(
    tmp_path: Path, destination: Destination, capsys: pytest.CaptureFixture[str]
) -> None:
    away = tmp_path / "away"
    with open_database(None, False, away, required=True) as lost:
        named = Destination(tmp_path, lost.database, flag="-m x:1:y", _where="MongoDB at x:1:y")
        tracker = Tracker(new_run_folder(tmp_path), named, Pace(interval=0.02, close=2.0))
        tracker.started({"seed": 1}, {})
        tracker.publish()
        assert EmbeddedServer(away).stop()
        tracker.metrics(1, {"loss": 1.0})
        tracker.ended("COMPLETED", {"a": 1})
        note = tracker.close()
    assert note is not None
    assert "python -m experiments.db replay -m x:1:y" in note
    assert "\n" not in note
    assert capsys.readouterr() == ("", "")
    assert destination.database is not None
    assert replay(tracker.folder, destination.database) == "written"
    assert points(destination.database, tracker.uid, "loss") == [(1, 1.0)]
    assert run_of(destination.database, tracker.uid)["result"] == {"a": 1}


def test_a_database_that_was_emptied_in_mid_run_is_filled_again(tracker: Tracker, destination: Destination) -> None:
    tracker.metrics(1, {"loss": 1.0})
    tracker.publish()
    assert destination.database is not None
    destination.database.runs.delete_many({})
    destination.database.metric_chunks.delete_many({})
    tracker.metrics(2, {"loss": 2.0})
    assert tracker.close() is None
    assert points(destination.database, tracker.uid, "loss") == [(1, 1.0), (2, 2.0)]
    assert run_of(destination.database, tracker.uid)["info"]["metrics"][0]["name"] == "loss"  # type: ignore[index]


def test_artifacts(
    tracker: Tracker,
    destination: Destination,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(files, "MAX_STORED", 100)
    small, large = tmp_path / "plot.svg", tmp_path / "weights.bin"
    large.write_bytes(b"x" * 101)
    for content in ("first", "second"):
        small.write_text(content)
        tracker.artifact(small)
        tracker.publish()
    small.unlink()
    tracker.artifact(large)
    tracker.artifact(tmp_path / "nothing")
    tracker.close()
    assert "is not a file" in capsys.readouterr().err
    run = run_of(destination.database, tracker.uid)
    listed: list[dict[str, object]] = run["artifacts"]  # type: ignore[assignment]
    assert [entry["name"] for entry in listed] == ["plot.svg"]
    assert destination.database is not None
    store = gridfs.GridFS(destination.database)
    stored = store.get(listed[0]["file_id"])
    assert stored.read() == b"second"
    assert destination.database.fs.files.count_documents({}) == 1
    described: list[dict[str, object]] = run["files"]  # type: ignore[assignment]
    assert [(entry["name"], entry.get("size"), entry.get("stored")) for entry in described] == [
        ("plot.svg", 6, True),
        ("weights.bin", 101, False),
        ("nothing", None, None),
    ]
    assert described[1]["sha256"] == digest(large)


@pytest.mark.parametrize("name", ["../../outside", "..", "/etc/hosts", "a\0b", "é/ü\n", "long" * 200, "C:\\x", "."])
def test_no_name_leaves_the_folder(tracker: Tracker, destination: Destination, tmp_path: Path, name: str) -> None:
    (tmp_path / "plot.svg").write_text("content")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tracker.folder)}
    tracker.artifact(tmp_path / "plot.svg", name)
    assert tracker.close() is None
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tracker.folder)} == before
    (copy,) = (tracker.folder / "artifacts").iterdir()
    assert copy.read_text() == "content"
    assert [entry["name"] for entry in run_of(destination.database, tracker.uid)["files"]] == [name]  # type: ignore[attr-defined]


def test_without_a_database_the_tracker_is_a_journal(tmp_path: Path) -> None:
    with Tracker(new_run_folder(tmp_path), Destination(tmp_path)) as tracker:
        tracker.metrics(1, {"loss": 1.0})
        assert tracker.publish() is None
    assert tracker.note is None


def test_what_the_database_refuses_is_said_and_ends_nothing(destination: Destination) -> None:
    tracker = Tracker(new_run_folder(destination.root), destination, Pace(close=1.0))
    tracker.annotate(huge="x" * (17 * 2**20))
    tracker.ended("COMPLETED", {})
    note = tracker.close()
    assert note is not None
    assert "python -m experiments.db replay" in note

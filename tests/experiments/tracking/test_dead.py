"""Simultaneous runs on one embedded server, one of them killed: the others lose nothing, and it is marked as DEAD."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.runs import main
from experiments.tracking.dead import SILENT_S, mark_dead
from experiments.tracking.folders import new_run_folder
from experiments.tracking.journal import Journal, read_journal
from experiments.tracking.mongod import Destination, open_database
from experiments.tracking.publisher import Publisher
from experiments.tracking.values import Mongo

PROJECT = Path(__file__).parents[3]
STEPS = 1500
WRITER = """
import sys, time
from pathlib import Path
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import open_database
from experiments.tracking.recorder import Pace, Tracker

root, steps = Path(sys.argv[1]), int(sys.argv[2])
with open_database(None, False, root, required=True) as destination:
    with Tracker(new_run_folder(root), destination, Pace(interval=0.02, close=60.0)) as tracker:
        tracker.publish()
        print(tracker.uid, flush=True)
        for step in range(steps):
            tracker.metrics(step, {"loss": float(step)})
            time.sleep(0.001)
        tracker.ended("COMPLETED", {})
    sys.exit(tracker.note)
"""


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Callable[[int], tuple[subprocess.Popen[str], str]]]:
    """`writers(steps)`: a process that writes a run, and the run's uid."""
    started: list[subprocess.Popen[str]] = []

    def start(steps: int) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(steps)]
        started.append(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        return started[-1], started[-1].stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def steps_of(database: Mongo, uid: str) -> list[int]:
    chunks = database.metric_chunks.find({"uid": uid, "name": "loss"}).sort("chunk", 1)
    return [step for chunk in chunks for step in chunk["steps"]]


@pytest.mark.usefixtures("binary")
def test_one_of_three_runs_on_one_server_is_killed(
    writers: Callable[[int], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_database(None, False, tmp_path, required=True) as destination:
        database = destination.database
        assert database is not None
        (first, first_uid), (killed, killed_uid), (third, third_uid) = writers(STEPS), writers(10**9), writers(STEPS)
        while len(steps_of(database, killed_uid)) < 200:
            assert killed.poll() is None
            time.sleep(0.02)
        assert mark_dead(database) == []  # all of them live
        killed.send_signal(signal.SIGKILL)
        assert [killed.wait(), first.wait(120), third.wait(120)] == [-signal.SIGKILL, 0, 0]
        assert [run["status"] for run in database.runs.find({"uid": killed_uid})] == ["RUNNING"]

        assert main(["list", "--dir", str(tmp_path), "--csv", "--columns", "uid,status"]) == 0
        shown = dict(line.split(",") for line in capsys.readouterr().out.splitlines()[1:])
        assert shown == {first_uid: "COMPLETED", killed_uid: "DEAD", third_uid: "COMPLETED"}
        for uid in (first_uid, third_uid):
            assert steps_of(database, uid) == list(range(STEPS))
        written = [record["step"] for record in read_journal(tmp_path / "runs" / killed_uid) if "step" in record]
        assert steps_of(database, killed_uid) == written == list(range(len(written)))
        assert len(written) >= 200


def published(destination: Destination, **changes: Any) -> tuple[Journal, int]:
    """A run that says RUNNING, its document changed afterwards."""
    assert destination.database is not None
    journal = Journal(new_run_folder(destination.root))
    publisher = Publisher(journal.path.parent, destination.database)
    while not publisher.push():
        pass
    assert publisher.number is not None
    if changes:
        destination.database.runs.update_one({"_id": publisher.number}, {"$set": changes})
    return journal, publisher.number


def test_what_counts_as_dead(destination: Destination, tmp_path: Path) -> None:
    database = destination.database
    assert database is not None
    old = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=SILENT_S + 60)
    elsewhere, nowhere = {"host.hostname": "elsewhere"}, {"journal.folder": str(tmp_path / "gone")}
    alive, silent_but_alive = published(destination), published(destination, heartbeat=old)
    lasting = {
        "killed just now": published(destination),
        "seen from elsewhere, and silent": published(destination, **elsewhere, heartbeat=old),
        "its folder is gone, and it is silent": published(destination, **nowhere, heartbeat=old),
    }
    spared = {
        "seen from elsewhere, and not silent": published(destination, **elsewhere),
        "elsewhere and silent, its folder too": published(destination, **elsewhere, **nowhere, heartbeat=old),
        "its folder is gone, and it is not silent": published(destination, **nowhere),
    }
    for journal, _ in (*lasting.values(), *spared.values()):
        journal.close()
    assert mark_dead(database) == [number for _, number in lasting.values()]
    statuses = {run["_id"]: run["status"] for run in database.runs.find()}
    assert {statuses[number] for _, number in lasting.values()} == {"DEAD"}
    assert {statuses[number] for _, number in (alive, silent_but_alive, *spared.values())} == {"RUNNING"}
    assert database.runs.find_one({"_id": lasting["its folder is gone, and it is silent"][1]})["stop_time"] is not None
    for journal, _ in (alive, silent_but_alive):
        journal.close()

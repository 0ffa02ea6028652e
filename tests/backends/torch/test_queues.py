"""Runs and sweeps of a queue whose workers are killed, stopped or frozen: each ends once, and as if undisturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.sweep.__main__ import main as sweep
from experiments.tracking.mongod import VARIABLE, open_database
from tests.experiments.worker.queues import WORDS

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.mongod,
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the runs of a worker"),
]


def test_each_run_ends_once_whatever_befalls_the_workers() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.experiments.worker.queues", "--backend", "torch"]
    command += ["--runs", "6", "--workers", "2", "--kills", "4"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["runs"] == 6
    assert sum(report["struck"].values()) == 4
    assert report["attempts"] > 6


def wait_for(condition: Callable[[], Any], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_group_of_a_sweep_goes_on_with_another_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def worker() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "experiments.worker", "--max-runs", "1"]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    with open_database(None, False, tmp_path / "e", required=True) as destination:
        assert destination.database is not None
        runs = destination.database.runs
        over = ["over", "optimizer.lr=0.01,0.02", "seed=0,1", "with", *WORDS, "backend=torch"]
        assert sweep([*over, "--queue", "-c", "all"]) == 0
        entries = list(runs.find().sort("_id", 1))
        assert [(each["status"], each["queue"]["students"]) for each in entries] == [("QUEUED", 2)] * 2
        name = entries[0]["queue"]["sweep"]

        stopped = worker()
        wait_for(lambda: len(list((tmp_path / "e").glob("runs/*/checkpoints/step_*"))) >= 2)
        stopped.send_signal(signal.SIGTERM)
        out, _ = stopped.communicate(timeout=100)
        assert stopped.returncode == 75
        assert "run 1: given back to the queue" in out
        assert [each["status"] for each in runs.find({"queue": {"$exists": True}}).sort("_id", 1)] == ["QUEUED"] * 2

        out, _ = worker().communicate(timeout=200)
        assert "run 1: claimed, sweep of 2 students digits seed 0, attempt 2" in out
        assert "run 1: COMPLETED" in out
        first, second = runs.find({"queue": {"$exists": True}}).sort("_id", 1)
        assert (first["status"], second["status"]) == ("COMPLETED", "QUEUED")
        students = first["result"]["students"]
        assert {each["student"] for each in students} == {"optimizer.lr=0.01 seed=0", "optimizer.lr=0.02 seed=0"}
        assert [each["status"] for each in students] == ["COMPLETED"] * 2
        assert first["result"]["best"] == students[0]
        own = list(runs.find({"sweep": name}).sort("_id", 1))
        assert [each["status"] for each in own] == ["PREEMPTED"] * 2 + ["COMPLETED"] * 2
        assert {each["run"] for each in students} == {each["_id"] for each in own[2:]}
        assert all(each["resumed_at"] > 0 and each["meta"]["comment"] == "all" for each in own[2:])

"""A job that submitit preempts goes on in the next one, as if nobody had touched it: on this machine, as on Slurm."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from experiments.run import PROGRAM
from experiments.sweep.__main__ import main as sweep
from experiments.tracking.folders import run_folders
from experiments.tracking.journal import read_journal
from tests.experiments.kills import losses
from tests.experiments.worker.queues import STEPS, WORDS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="asks /proc who started the run")]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "e"


def wait_for(condition: object, seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def preempt(root: Path) -> None:
    """Send the signal before the end, once there is a checkpoint, to submitit's process in the job."""
    wait_for(lambda: list(root.glob("runs/*/checkpoints/step_*")))
    (journal,) = [record for record in read_journal(run_folders(root)[0]) if record["type"] == "journal"]
    parent = int(Path(f"/proc/{journal['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGUSR2)


def ends(folder: Path) -> list[str]:
    return [record["status"] for record in read_journal(folder) if record["type"] == "ended"]


def test_a_preempted_job_goes_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "time=10,cluster=local"
    assert PROGRAM.main(["-J", "--slurm", asked, "-c", "kept", "with", *WORDS, "backend=torch"]) == 0
    assert capsys.readouterr().out.startswith("submitted to this machine as job ")
    preempt(root)
    wait_for(lambda: len(run_folders(root)) == 2 and ends(run_folders(root)[1]))
    first, second = run_folders(root)
    assert (ends(first), ends(second)) == (["PREEMPTED"], ["COMPLETED"])
    fields = [record.get("fields", {}) for record in read_journal(second)]
    (begun,) = [each for each in fields if "resumed_from" in each]
    assert begun["resumed_from"] == first.name
    assert 0 < begun["resumed_at"] < STEPS
    (run,) = [record for record in read_journal(second) if record["type"] == "run"]
    assert run["meta"]["comment"] == "kept"
    assert max(losses(root)) == STEPS
    wait_for(lambda: list((root / "slurm").glob("*_result.pkl")))


def test_a_preempted_sweep_goes_on(root: Path) -> None:
    over = ["over", "optimizer.lr=0.01,0.02", "with", *WORDS, "backend=torch", "-J", "-x", "time=10,cluster=local"]
    assert sweep(over) == 0
    preempt(root)
    wait_for(lambda: len(run_folders(root)) == 4 and all(map(ends, run_folders(root))))
    assert [ends(folder)[-1] for folder in run_folders(root)] == ["PREEMPTED"] * 2 + ["COMPLETED"] * 2
    (kept,) = (root / "sweeps").iterdir()
    assert {record["fields"]["sweep"] for folder in run_folders(root) for record in read_journal(folder)
            if "sweep" in record.get("fields", {})} == {kept.name}  # fmt: skip
    wait_for(lambda: list((root / "slurm").glob("*_result.pkl")))

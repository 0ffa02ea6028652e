"""What becomes of a worker's last words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.bench import processes as bench
from experiments.parity.processes import ROOT, WorkerFault, failure
from experiments.parity.worker import WORKER
from framework.errors import UserError


def test_a_mistake_is_said_in_the_parent_s_name() -> None:
    error = failure(WORKER, "jax in float32", 2, ["a warning", f"{WORKER}: seed = x: allowed: a number"])
    assert isinstance(error, UserError)
    assert str(error) == "seed = x: allowed: a number"


def test_of_a_fault_the_last_lines_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    error = failure(WORKER, "jax in float32", 1, [f"line {number}" for number in range(20)])
    assert isinstance(error, WorkerFault)
    assert str(error) == "jax in float32 ended with 1: line 19"
    assert capsys.readouterr().err.splitlines() == [f"line {number}" for number in range(8, 20)]


def test_a_worker_without_its_job_ends_with_a_traceback_and_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", WORKER, str(tmp_path / "missing")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith(f"{WORKER}: FileNotFoundError")


def test_the_bench_tells_a_worker_s_fault(tmp_path: Path) -> None:
    job = {"kind": "loaders", "peer": "nosuch", "mode": "jpeg", "threads": 1, "quick": True, "folder": str(tmp_path)}
    with pytest.raises(WorkerFault, match="loaders \\(nosuch\\) ended with 1: KeyError: "):
        bench.run(job, lambda line: None)

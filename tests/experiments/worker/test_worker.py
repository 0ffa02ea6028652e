"""`experiments.run -q` and `experiments.worker`: what is stored, what is refused, and how runs end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.distributed.environment import alone, place
from experiments.tracking.folders import run_folders
from experiments.tracking.mongod import VARIABLE
from experiments.worker.__main__ import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max-runs", "0"], "--max-runs: takes a whole number of at least 1, got '0'"),
        (["--idle-exit", "soon"], "--idle-exit: takes a number of seconds, got 'soon'"),
        (["--lost-after", "-1"], "--lost-after: "),
    ],
)
def test_what_the_command_cannot_take(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_run_of_a_worker_is_alone_whatever_has_started_the_worker() -> None:
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    slurm = {"SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "7"}
    mpi = {f"OMPI_COMM_WORLD_{name}": "2" for name in ("SIZE", "LOCAL_SIZE")} | {
        f"OMPI_COMM_WORLD_{name}": "1" for name in ("RANK", "LOCAL_RANK")
    }
    jax = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "2"}
    tpu = {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "0"}
    task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    for launcher in (torchrun, slurm, mpi, jax, tpu, {"TF_CONFIG": json.dumps(task)}):
        assert place(launcher) is not None
        assert place(alone(launcher)) is None


@pytest.fixture
def worker(here: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`worker(*words)`: its exit code, its lines on stdout, and stderr."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("EXPERIMENTS_DIR", str(here.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*words: str) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return run


@pytest.mark.backend
def test_without_a_server_nothing_is_queued(
    here: Any, worker: Any, said: Any, short: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_MONGOD", str(tmp_path / "nowhere"))
    done = here.run("-q", *short)
    assert re.search(r"experiments\.run: no database: there is no mongod here.*-m names one", said(done, 2))
    code, lines, told = worker()
    assert (code, lines, len(told.splitlines())) == (2, [], 1)
    assert told.startswith("experiments.worker: no database: there is no mongod here")
    assert run_folders(here.root) == []


@pytest.mark.backend
@pytest.mark.mongod
def test_what_is_refused_is_not_queued(here: Any, said: Any, short: Any, database: Any) -> None:
    secret = "https://user:password@localhost/weights.npz"
    for words, told in {
        ("optimizer.lr=-1",): "optimizer.lr = -1",
        ("resume=latest",): "-q queues a run from its first step",
        (f"student.weights={secret}",): "student: a password or a signature in it is not stored",
        ("data=./nowhere/images",): "there is no such file or folder",
    }.items():
        done = here.run("-q", *short, *words)
        assert told in said(done, 2), words
    assert database.runs.count_documents({}) == 0


@pytest.mark.backend
@pytest.mark.mongod
def test_queued_runs_end_as_they_must(here: Any, worker: Any, short: Any, database: Any) -> None:
    done = here("experiments.run", "-q", "-c", "one", "with", *short, f"backend={here.backend}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("queued as run 1 in the embedded MongoDB in ")
    assert here.run("-q", *short, "duration.total_steps=5").returncode == 0
    (waits, other) = database.runs.find().sort("_id", 1)
    assert (waits["status"], waits["heartbeat"], waits.get("start_time")) == ("QUEUED", None, None)
    assert (waits["meta"]["comment"], waits["config"]["duration"]["total_steps"]) == ("one", 4)
    assert len(waits["experiment"]["sources"]) > 100
    assert run_folders(here.root) == []
    # What this machine lacks, nobody could know when it was queued.
    changed = {"config.teachers.0.name": "nobody"}
    database.runs.update_one({"_id": other["_id"]}, {"$set": changed})

    assert here.run("-q", *short).returncode == 0
    code, lines, told = worker("--cancel", "3", "9")
    assert (code, lines, told) == (2, ["run 3 is out of the queue"], "experiments.worker: there is no run 9\n")

    code, lines, told = worker("--idle-exit", "0")
    assert code == 1, (lines, told)
    assert lines[1].startswith("run 1: claimed, funmatch digits seed 0, output in ")
    assert re.match(r"run 1: COMPLETED, after ", lines[2])
    assert lines[3].startswith("run 2: claimed, ")
    assert re.match(r"run 2: FAILED \(experiments\.worker: .*nobody.*\), after ", lines[4]), lines
    assert lines[5:] == [
        "idle: nothing waits for this worker, 0 runs are with others, ending after 0 s without",
        "worker ends: 2 runs ended here, 1 FAILED",
    ]
    one, two, three = database.runs.find().sort("_id", 1)
    assert three["status"] == "INTERRUPTED"
    (folder,) = run_folders(here.root)
    assert (one["_id"], one["status"], one["uid"]) == (1, "COMPLETED", folder.name)
    assert one["result"]["steps"] == 4
    assert (one["meta"]["comment"], one["config"]["backend"]) == ("one", here.backend)
    assert (two["status"], "nobody" in two["fail_trace"][0]) == ("FAILED", True)
    assert (folder / "student" / "weights.safetensors").is_file()
    assert not list(here.root.glob("runs/*/claim.lock"))

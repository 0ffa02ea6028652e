"""What launchers write into the environment."""

from __future__ import annotations

import importlib
import json

import pytest

from experiments.distributed.environment import Place, first_node, place
from framework.errors import UserError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node0"}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "123456",
}
MPI = {f"OMPI_COMM_WORLD_{name}": value for name, value in (("RANK", "1"), ("SIZE", "4"), ("LOCAL_RANK", "1"))}
TF = {"cluster": {"chief": ["a:1"], "worker": ["a:2", "b:1"]}, "task": {"type": "worker", "index": 1}}
TPU = {"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "t0,t1"}
JAX = {"JAX_COORDINATOR_ADDRESS": "h:99", "JAX_PROCESS_ID": "1", "JAX_NUM_PROCESSES": "2"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"RANK": "0"}, None),
        ({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "7"}, None),
        ({**TORCHRUN, "MASTER_PORT": "29500"}, Place("torchrun", 3, 8, 1, 2, "node0", 29500)),
        # torchrun's own agent listens at that port.
        (
            {**TORCHRUN, "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "x"},
            Place("torchrun", 3, 8, 1, 2, "node0", 29501),
        ),
        ({"TF_CONFIG": json.dumps(TF)}, Place("TF_CONFIG", 2, 3, 0, 1, "a", 1)),
        (JAX, Place("JAX_COORDINATOR_ADDRESS", 1, 2, 0, 1, "h", 99)),
        (TPU, Place("Cloud TPU", 1, 2, 0, 1, "t0", 61000)),
        ({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, Place("Open MPI", 1, 4, 1, 4, "127.0.0.1", 61000)),
        (
            {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "MASTER_ADDR": "m", "MASTER_PORT": "8"},
            Place("Open MPI", 1, 4, 1, 2, "m", 8),
        ),
        (SLURM, Place("Slurm", 5, 8, 1, 4, "gpu07", 61000 + 123456 % 4096)),
        # A batch script itself is one process.
        ({name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"}, None),
    ],
)
def test_the_place_of_a_process(env: dict[str, str], expected: Place | None) -> None:
    assert place(env) == expected


@pytest.mark.parametrize(
    ("env", "named"),
    [
        (TORCHRUN, "MASTER_PORT is not set"),
        ({**TORCHRUN, "MASTER_PORT": "http"}, "MASTER_PORT = 'http': expected a number"),
        ({**TORCHRUN, "MASTER_PORT": "1", "RANK": "8"}, "rank 8 of 8 processes: expected 0 to 7"),
        ({"TF_CONFIG": "{"}, 'TF_CONFIG: expected {"cluster"'),
        ({**JAX, "JAX_COORDINATOR_ADDRESS": "h"}, "expected host:port"),
        ({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, "mpirun -x MASTER_ADDR=HOST"),
    ],
)
def test_what_makes_no_sense_is_named(env: dict[str, str], named: str) -> None:
    with pytest.raises(UserError) as caught:
        place(env)
    assert named in str(caught.value)


def test_the_first_machine_of_a_list() -> None:
    lists = ["n1", "n1,n2", "gpu[03-05,09],cpu1", "gpu[7]", "a,gpu[1-2]"]
    assert [first_node(each) for each in lists] == ["n1", "n1", "gpu03", "gpu7", "a"]


@pytest.mark.parametrize(
    ("command", "what", "words"),
    [
        ("sweep.__main__", "experiments.sweep", ["over", "seed=0,1", "with", "digits"]),
        ("study.__main__", "experiments.study", ["labels", "with", "digits"]),
        ("run", "-q", ["-q", "with", "digits"]),
        ("run", "--slurm", ["--slurm", "cluster=local", "with", "digits"]),
    ],
)
def test_what_one_process_does_is_refused(
    command: str, what: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module(f"experiments.{command}")
    assert getattr(module, "PROGRAM", module).main(words) == 2
    assert f"{what} is for one process, and torchrun started 8" in capsys.readouterr().err

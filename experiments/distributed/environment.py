"""What launchers write into the environment, as this process's place among those that train together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from framework.errors import UserError

# Where a launcher names no port, one of so many is taken, by the number of the job.
_PORTS, _FIRST_PORT = 2**12, 61_000
_LOCAL = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """A process among those that a launcher started.

    Attributes:
        launcher: what it is called in messages.
        rank: from 0.
        size: how many processes there are.
        local_rank: among those of the machine, from 0.
        local_size: how many of them the machine has.
        host, port: where the first process listens for the others.
    """

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    host: str
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise UserError(
                f"{self.launcher}: rank {self.rank} of {self.size} processes: expected 0 to {self.size - 1}"
            )


def place(env: Mapping[str, str]) -> Place | None:
    """The place that a launcher gave this process; None where it is on its own.

    The first that is there counts: torchrun (and whatever sets its variables), TF_CONFIG, JAX's own variables, a
    Cloud TPU's, Open MPI, Slurm.

    Raises:
        UserError: a variable is missing or is no number.
    """
    for sign, find in _LAUNCHERS.items():
        if sign in env and (found := find(env)) is not None:
            return found if found.size > 1 else None
    return None


def alone(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that is on its own, whatever the launcher of this one has written."""
    return {name: value for name, value in env.items() if name not in _LAUNCHERS}


def _torchrun(env: Mapping[str, str]) -> Place | None:
    if "WORLD_SIZE" not in env:
        return None
    # Where torchrun's own agent listens, the next port is ours.
    port = _number("MASTER_PORT", env) + ("TORCHELASTIC_RUN_ID" in env)
    size = _number("WORLD_SIZE", env)
    rank = _number("RANK", env)
    local = _number("LOCAL_RANK", env, rank), _number("LOCAL_WORLD_SIZE", env, size)
    return Place("torchrun", rank, size, *local, _text("MASTER_ADDR", env), port)


def _tf_config(env: Mapping[str, str]) -> Place:
    try:
        config = json.loads(env["TF_CONFIG"])
        cluster, task = config["cluster"], config["task"]
        kinds = [kind for kind in ("chief", "worker") if kind in cluster]
        before = len(cluster["chief"]) if task["type"] == "worker" and "chief" in cluster else 0
        hosts = [each for kind in kinds for each in cluster[kind]]
        rank = before + int(task["index"])
        names = [each.rpartition(":")[0] for each in hosts]
        own = [index for index, name in enumerate(names) if name == names[rank]]
        host, _, port = hosts[0].rpartition(":")
        return Place("TF_CONFIG", rank, len(hosts), own.index(rank), len(own), host, int(port))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f'TF_CONFIG: expected {{"cluster": {{"worker": ["host:port", ...]}}, "task": {{"type": "worker", '
            f'"index": 0}}}}, received {env["TF_CONFIG"][:200]!r}'
        ) from error


def _jax(env: Mapping[str, str]) -> Place:
    host, _, port = env["JAX_COORDINATOR_ADDRESS"].rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"JAX_COORDINATOR_ADDRESS = {env['JAX_COORDINATOR_ADDRESS']!r}: expected host:port")
    rank, size = _number("JAX_PROCESS_ID", env), _number("JAX_NUM_PROCESSES", env)
    return Place("JAX_COORDINATOR_ADDRESS", rank, size, 0, 1, host, int(port))


def _tpu(env: Mapping[str, str]) -> Place | None:
    hosts = [name for name in env["TPU_WORKER_HOSTNAMES"].split(",") if name]
    if len(hosts) < 2 or "TPU_WORKER_ID" not in env:
        return None
    return Place("Cloud TPU", _number("TPU_WORKER_ID", env), len(hosts), 0, 1, hosts[0], _FIRST_PORT)


def _open_mpi(env: Mapping[str, str]) -> Place:
    prefix = "OMPI_COMM_WORLD_"
    rank, size, local, here = (_number(prefix + name, env) for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"))
    if here < size and "MASTER_ADDR" not in env:
        raise UserError(
            "Open MPI on several machines: say where the first process is, `mpirun -x MASTER_ADDR=HOST ...`"
        )
    # All processes of a job have one parent's name in common.
    port = _number("MASTER_PORT", env, _port(env.get("PMIX_NAMESPACE", env.get("OMPI_MCA_ess_base_jobid", ""))))
    return Place("Open MPI", rank, size, local, here, env.get("MASTER_ADDR", _LOCAL), port)


def _slurm(env: Mapping[str, str]) -> Place | None:
    if "SLURM_PROCID" not in env:
        return None
    rank, size = _number("SLURM_PROCID", env), _number("SLURM_STEP_NUM_TASKS", env, _number("SLURM_NTASKS", env, 1))
    nodes = env.get("SLURM_STEP_NODELIST", env.get("SLURM_NODELIST", ""))
    alone = _number("SLURM_STEP_NUM_NODES", env, _number("SLURM_NNODES", env, 1)) == 1
    tasks = env.get("SLURM_STEP_TASKS_PER_NODE", "").split(",")[0].split("(")[0]
    here = size if alone else int(tasks) if tasks.isdecimal() else 1
    host = env.get("MASTER_ADDR") or (_LOCAL if alone else first_node(nodes))
    port = _number("MASTER_PORT", env, _port(env.get("SLURM_JOB_ID", "")))
    return Place("Slurm", rank, size, _number("SLURM_LOCALID", env, 0), here, host, port)


def first_node(nodes: str) -> str:
    """The first machine of Slurm's list: `gpu03` of `gpu[03-05,09],cpu1`."""
    name, bracket, rest = nodes.partition("[")
    if not bracket or "," in name:
        return name.partition(",")[0]
    return name + re.split(r"[-,\]]", rest)[0]


def _port(job: str) -> int:
    digits = re.sub(r"\D", "", job) or "0"
    return _FIRST_PORT + int(digits) % _PORTS


def _text(name: str, env: Mapping[str, str]) -> str:
    if not env.get(name):
        raise UserError(f"{name} is not set, though other variables of a launcher are: where is the first process?")
    return env[name]


def _number(name: str, env: Mapping[str, str], default: int | None = None) -> int:
    if default is not None and name not in env:
        return default
    text = _text(name, env)
    if not text.strip().isdecimal():
        raise UserError(f"{name} = {text!r}: expected a number")
    return int(text)


# Each launcher by a variable without which it isn't seen; of a batch script itself, that `srun` didn't start, there is
# one process.
_LAUNCHERS: dict[str, Callable[[Mapping[str, str]], Place | None]] = {
    "RANK": _torchrun,
    "TF_CONFIG": _tf_config,
    "JAX_COORDINATOR_ADDRESS": _jax,
    "TPU_WORKER_HOSTNAMES": _tpu,
    "OMPI_COMM_WORLD_RANK": _open_mpi,
    "SLURM_STEP_ID": _slurm,
}

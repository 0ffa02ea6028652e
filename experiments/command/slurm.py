"""Submits a command to Slurm through `submitit`: the same command, which goes on by itself after a preemption."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import Any

from experiments.command.exit import PREEMPTED
from experiments.distillation.lineage import beginning, has_checkpoint
from experiments.tracking.folders import RUNS, run_folders
from experiments.tracking.journal import JournalReader
from experiments.tracking.snapshot import PROJECT
from framework.errors import UserError, near
from framework.files.arrays import write_text

FOLDER = "slurm"
SWEEP = "experiments.sweep"
# Our word for a setting, and submitit's; those of Slurm alone begin with its name.
_NUMBERS = {"nodes": "nodes", "gpus": "gpus_per_node", "tasks": "tasks_per_node", "cpus": "cpus_per_task"}
_TEXTS = {name: f"slurm_{name}" for name in ("partition", "account", "qos", "constraint")}
_NAMES = (*_NUMBERS, *_TEXTS, "time", "mem", "signal", "cluster")
_TIME = re.compile(r"(?:(?:(\d+)-)?(\d+):(\d\d):(\d\d)|(\d+))")
_CLUSTERS = ("slurm", "local")
_LOOK_S = 0.1
# submitit counts how often a job may run out of its time: as often as it takes.
_TIMES = 10_000


def settings(text: str) -> dict[str, Any]:
    """What `--slurm KEY=VALUE,...` asks for, as submitit's parameters, and `cluster`.

    Raises:
        UserError: an unknown key, a value that it can't have, no time, or submitit or Slurm isn't here.
    """
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if name not in _NAMES:
            raise UserError(f"--slurm {name}: {near(name, _NAMES)}")
        if not equals or not value or name in found:
            raise UserError(f"--slurm {part}: expected each key once, {name}=VALUE")
        found[name] = value
    cluster = found.pop("cluster", "slurm")
    if cluster not in _CLUSTERS:
        raise UserError(f"--slurm cluster={cluster}: {near(cluster, _CLUSTERS)}")
    if "time" not in found:
        raise UserError(
            "--slurm: time is missing, after which the job ends and another one continues it: time=MINUTES or "
            "time=HH:MM:SS"
        )
    made = {"timeout_min": _minutes(found.pop("time"))}
    made |= {_NUMBERS[name]: _whole(name, value) for name, value in found.items() if name in _NUMBERS}
    made |= {_TEXTS[name]: value for name, value in found.items() if name in _TEXTS and cluster == "slurm"}
    if "mem" in found:
        made["mem_gb"] = _whole("mem", found["mem"])
    delay = _whole("signal", found.get("signal", "120"))
    made |= {"slurm_signal_delay_s": delay} if cluster == "slurm" else {}
    _check_installed(cluster)
    return {"cluster": cluster, **made}


def _minutes(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise UserError(f"--slurm time={text}: expected MINUTES, HH:MM:SS or DAYS-HH:MM:SS")
    if match[5]:
        return max(1, int(match[5]))
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    return max(1, (days * 24 + hours) * 60 + minutes + (seconds > 0))


def _whole(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        gigabytes = " of gigabytes" if name == "mem" else " of seconds" if name == "signal" else ""
        raise UserError(f"--slurm {name}={text}: expected a whole number{gigabytes}, 1 or more")
    return int(text)


def _check_installed(cluster: str) -> None:
    if util.find_spec("submitit") is None:
        raise UserError('--slurm needs submitit: python -m pip install -c constraints.txt -e ".[slurm]"')
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise UserError("--slurm: there is no sbatch here, so no Slurm; cluster=local tries the job on this machine")


@dataclass
class Job:
    """What submitit calls in the job: the command, in a process of its own.

    Attributes:
        words: what is on its command line beside flags; a resumed one has `with resume=...` in place of it.
        notes: the folder in which the job writes down which run is its own.
    """

    module: str
    flags: tuple[str, ...]
    words: tuple[str, ...]
    root: Path
    cwd: Path
    notes: Path

    def __call__(self) -> int:
        """Run it; returns its exit code.

        Raises:
            RuntimeError: it has failed, or was ended without being told to go on in another job.
        """
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"EXPERIMENTS_DIR": str(self.root), "PYTHONPATH": path}
        self._process = subprocess.Popen(self.line(self._noted()), cwd=self.cwd, env=environment)
        # submitit ignores it: the command keeps a checkpoint, and the job ends.
        signal.signal(signal.SIGTERM, lambda *_: self._process.send_signal(signal.SIGTERM))
        code = self._wait()
        if code:
            run = self._own_run()
            resume = f"to resume: python -m {self.module} with resume={run}" if run and code == PREEMPTED else ""
            command = shlex.join(["python", *self.line(None)[1:]])
            raise RuntimeError(f"{command} ended with {code}; {resume or 'its last lines are above'}")
        return code

    def line(self, resumed: str | None) -> list[str]:
        """The command line, of the run that goes on where there is one."""
        words = self.words if resumed is None else ("with", f"resume={resumed}")
        return [sys.executable, "-m", self.module, *self.flags, *words]

    def checkpoint(self) -> Any:
        """Called by submitit at the signal before the end: the command keeps a checkpoint, and the job is queued again.

        The next one reads from `notes` which run it goes on with. Within a signal's handler, the lock of `Popen.wait`
        may be held.
        """
        from submitit.helpers import DelayedSubmission

        if hasattr(self, "_process"):
            self._process.send_signal(signal.SIGUSR2)
            while not self._is_gone():
                time.sleep(_LOOK_S)
            self._written_down()
        # Without the process, which nobody can store.
        return DelayedSubmission(replace(self))

    def _wait(self) -> int:
        """Wait for the end, and write down which run is the job's as soon as there is one."""
        looked = 0.0
        known = False
        while not self._is_gone():
            if not known and time.monotonic() - looked > 10 * _LOOK_S:
                known, looked = self._written_down(), time.monotonic()
            time.sleep(_LOOK_S)
        if not known:
            self._written_down()
        return self._process.wait()

    def _is_gone(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _own_run(self) -> str | None:
        """The uid of the run, or of the sweep, that the process has begun: its journal names the process."""
        for folder in reversed(run_folders(self.root)[-100:]):
            begun = JournalReader(folder).read(1)
            if begun and (begun[0].get("pid"), begun[0].get("host")) == (self._process.pid, platform.node()):
                # A student's run says a moment later of which sweep it is.
                return folder.name if self.module != SWEEP else beginning(folder).get("sweep")
        return None

    @property
    def _note(self) -> Path:
        name = os.environ.get("SLURM_JOB_ID") or os.environ.get("SUBMITIT_LOCAL_JOB_ID") or str(os.getpid())
        return self.notes / f"{name}_run.json"

    def _written_down(self) -> bool:
        run = self._own_run()
        if run is not None:
            write_text(self._note, json.dumps({"run": run}))
        return run is not None

    def _noted(self) -> str | None:
        """The run that an earlier job of this number has begun, where it can go on."""
        if not self._note.is_file():
            return None
        run = str(json.loads(self._note.read_text())["run"])
        folder = self.root / RUNS / run
        # A sweep has a folder of its own, and goes on whatever its students have.
        return run if not folder.is_dir() or has_checkpoint(folder) else None


def submit(asked: Mapping[str, Any], module: str, flags: Sequence[str], words: Sequence[str], root: Path) -> str:
    """Submit a command; returns what to tell.

    Args:
        asked: as `settings` gives them.
        flags, words: its command line, without `--slurm`.

    Raises:
        UserError: Slurm, or submitit, refuses.
    """
    import submitit

    folder = root / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    parameters = {name: value for name, value in asked.items() if name != "cluster"}
    try:
        kind = asked["cluster"]
        executor = submitit.AutoExecutor(folder=folder, cluster=kind, **{f"{kind}_max_num_timeout": _TIMES})
        executor.update_parameters(name=module.replace("experiments.", ""), **parameters)
        job = executor.submit(Job(module, tuple(flags), tuple(words), root, Path.cwd(), folder))
    except (RuntimeError, ValueError, AssertionError, TypeError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"--slurm: {str(error).strip().splitlines()[-1]}") from error
    where = "Slurm" if asked["cluster"] == "slurm" else "this machine"
    return f"submitted to {where} as job {job.job_id}: output in {job.paths.stdout} and {job.paths.stderr.name}"

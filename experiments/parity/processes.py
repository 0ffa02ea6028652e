"""Worker processes: a few at a time, watched, and ended with whoever started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.command.exit import MISTAKE
from experiments.parity.measure import Result
from experiments.parity.worker import WORKER
from experiments.tracking.scrub import scrub_text
from framework.errors import UserError

ROOT = Path(__file__).parents[2]
POLL_S = 0.1
GRACE_S = 5.0


class WorkerFault(RuntimeError):
    """A worker ended by a fault of the program; the message has its last word."""


def failure(worker: str, who: str, code: int, lines: Sequence[str]) -> UserError | WorkerFault:
    """What is to be raised for a worker that did not end well; of a fault its last lines are shown.

    Args:
        worker: the name in which it says mistakes.
        who: what it did, for the user.
        code: its exit code.
        lines: what it said.
    """
    last = scrub_text(lines[-1]).removeprefix(f"{worker}: ") if lines else "it said nothing"
    if code == MISTAKE and lines:
        return UserError(last)
    print(scrub_text("\n".join(lines[-12:])), file=sys.stderr)
    return WorkerFault(f"{who} ended with {code}: {last}")


@dataclass(frozen=True)
class Job:
    """One backend in one precision.

    Attributes:
        backend, precision: which.
        settings: what the worker takes besides its files; the precision is put into its `spec`.
        folder: an own folder for its files.
        worker: the module that does it.
    """

    backend: str
    precision: str
    settings: dict[str, Any]
    folder: Path
    worker: str = WORKER

    @property
    def done(self) -> int:
        """Steps done so far."""
        try:
            return int((self.folder / "done").read_text() or 0)
        except FileNotFoundError:
            return 0

    def start(self) -> subprocess.Popen[bytes]:
        """Start the worker; its words go to a file."""
        self.folder.mkdir()
        spec = {**self.settings["spec"], "precision": self.precision}
        own = {"result": str(self.folder / "result.npz"), "done": str(self.folder / "done")}
        path = self.folder / "job.json"
        path.write_text(json.dumps({**self.settings, "spec": spec, "backend": self.backend, **own}))
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": module_path(), "KERAS_BACKEND": self.backend}
        command = [sys.executable, "-m", self.worker, str(path)]
        with (self.folder / "words").open("wb") as words:
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words)

    def result(self, code: int) -> Result:
        """The arrays of a worker that ended with this exit code.

        Raises:
            UserError: the worker found a mistake of the user's.
            WorkerFault: it ended otherwise.
        """
        lines = (self.folder / "words").read_text(errors="replace").strip().splitlines()
        if code:
            raise failure(self.worker, f"{self.backend} in {self.precision}", code, lines)
        with np.load(self.folder / "result.npz") as arrays:
            return dict(arrays)


def module_path() -> str:
    """The module path with the project in front, wherever the command was started."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def run(jobs: Sequence[Job], at_a_time: int, watch: Callable[[Job, int, bool], None]) -> dict[tuple[str, str], Result]:
    """Run jobs to their end.

    Args:
        jobs: in the order of their start.
        at_a_time: processes, at least 1.
        watch: called now and then with a job, its steps done and whether it has ended.

    Returns:
        The results by (backend, precision).

    Raises:
        UserError, WorkerFault: of the first job that fails; all others are ended, as they are on Ctrl-C.
    """
    waiting, running, results = list(jobs), list[tuple[Job, subprocess.Popen[bytes]]](), {}
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                running.append((waiting[0], waiting.pop(0).start()))
            time.sleep(POLL_S)
            for job, process in list(running):
                code = process.poll()
                watch(job, job.done, code is not None)
                if code is not None:
                    running.remove((job, process))
                    results[job.backend, job.precision] = job.result(code)
    finally:
        end([process for _, process in running])
    return results


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes, kindly at first."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Bar:
    """A bar on a terminal; elsewhere a line for each worker that has ended."""

    def __init__(self, total: int) -> None:
        self.bar = tqdm(total=total, unit="step", disable=not sys.stderr.isatty(), leave=False)
        self.steps: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def watch(self, job: Job, done: int, ended: bool) -> None:
        """Take note of a job's state."""
        self.steps[job.backend, job.precision] = done
        self.bar.set_description(f"{job.backend} {job.precision}", refresh=False)
        self.bar.update(sum(self.steps.values()) - self.bar.n)
        self.bar.refresh()
        if ended and self.bar.disable:
            print(f"{job.backend} {job.precision}: {done} steps", file=sys.stderr, flush=True)

"""A measurement's process: started, listened to, and ended with whoever started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from experiments.bench.worker import WORKER
from experiments.parity.processes import end, failure, module_path


def run(job: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Do a job in a process of its own.

    Args:
        job: as `experiments.bench.worker` takes it.
        tell: takes the job's own words on how far it is.

    Raises:
        UserError: something given can't be.
        WorkerFault: the process failed.
    """
    with tempfile.TemporaryFile("w+") as words:
        process = start(job, words)
        try:
            result = listen(process, tell)
            code = process.wait()
        finally:
            end([process])
        words.seek(0)
        lines = [line for line in words.read().splitlines() if line.strip()]
    if code or result is None:
        raise failure(WORKER, f"{job['kind']} ({job.get('backend') or job.get('peer')})", code, lines)
    return result


def start(job: dict[str, Any], words: Any) -> subprocess.Popen[bytes]:
    """Start the worker; each library of numbers takes as many threads as the job says."""
    threads = str(job["threads"] or "")
    own = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} if threads else {}
    environment = {**os.environ, **own, "PYTHONPATH": module_path(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", WORKER, json.dumps(job)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words)


def listen(process: subprocess.Popen[bytes], tell: Callable[[str], None]) -> dict[str, Any] | None:
    """Hand on what the worker says until it ends; its result."""
    result = None
    assert process.stdout is not None
    for line in process.stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # a library's own words
        if isinstance(said, dict) and "tell" in said:
            tell(said["tell"])
        elif isinstance(said, dict):
            result = said.get("result", result)
    return result

"""One measurement in a process of its own: `python -m experiments.bench.worker JOB`, which the bench starts by itself.

The job is JSON. Lines of JSON on stdout: {"tell": "how far it is"}, and at last {"result": {...}}.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from experiments.command.exit import DONE, guarded

WORKER = "experiments.bench.worker"


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job of one of the kinds; each has a module with a `measure`."""
    if job.get("cache"):
        job["cache"] = Path(job["cache"])
    measure = importlib.import_module(f"experiments.bench.{job['kind']}").measure
    return measure(job, lambda line: say({"tell": line}))


def say(value: dict[str, Any]) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value), flush=True)


def run(job: str) -> int:
    """Do a job, and say its result."""
    say({"result": work(json.loads(job))})
    return DONE


if __name__ == "__main__":
    sys.exit(guarded(WORKER, lambda: run(sys.argv[1]), debug=True))

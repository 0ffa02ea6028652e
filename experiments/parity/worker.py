"""One backend in a process of its own: `python -m experiments.parity.worker JOB.json`, which parity starts by itself.

A job names `backend`, `device`, `spec`, `steps`, `cache`, and the files `result` (.npz) and `done` (the steps so far).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends.base import Settings
from experiments.command.exit import DONE, guarded
from experiments.parity.measure import load_examples, measure
from framework.spec import DistillSpec

WORKER = "experiments.parity.worker"


def work(path: Path) -> int:
    """Do a job and write its result."""
    job: dict[str, Any] = json.loads(path.read_text())
    spec = DistillSpec.from_dict(job["spec"])
    backend = backends.load(job["backend"])
    device = backend.configure(Settings(job["device"], precision=spec.precision))
    examples = load_examples(spec.data, Path(job["cache"]))
    written = Path(job["done"]).write_text
    result = measure(backend, device, spec, examples, job["steps"], told=lambda done: written(str(done)))
    about = json.dumps({"device": str(device), "versions": backend.versions()})
    np.savez(job["result"], about=np.array(about), **result)  # type: ignore[arg-type]  # numpy's stub: no keywords
    return DONE


if __name__ == "__main__":
    sys.exit(guarded(WORKER, lambda: work(Path(sys.argv[1])), debug=True))

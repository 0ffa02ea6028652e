"""One backend's views in a process of its own: `python -m experiments.sheets.worker JOB.json`, started by `views`.

A job names `backend`, `spec`, `steps`, `cache`, and the files `result` (.npz) and `done` (a number).
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
from experiments.distillation.early import add_working_folder
from experiments.sheets.seen import look
from framework import data as data_layer
from framework.protocols import Array
from framework.spec import DistillSpec

WORKER = "experiments.sheets.worker"
KEPT = 8  # examples of a step whose pixels are compared where they are not equal


def work(path: Path) -> int:
    """Do a job and write its result: of each step `N/draws`, and of each view `N/V/digests` [B] and `N/V/pixels`."""
    job: dict[str, Any] = json.loads(path.read_text())
    add_working_folder()
    spec, backend = DistillSpec.from_dict(job["spec"]), backends.load(job["backend"])
    backend.configure(Settings("cpu", 1, spec.precision))
    source = data_layer.load(spec.data, Path(job["cache"])).train
    result: dict[str, Array] = {}
    for done, step in enumerate(look(spec, source, backend, job["steps"]), start=1):
        result[f"{step.number}/draws"] = np.array(step.draws_hash)
        for place, (views, digests) in enumerate(zip(step.views, step.digests(), strict=True)):
            result[f"{step.number}/{place}/digests"] = np.array(digests)
            result[f"{step.number}/{place}/pixels"] = views[:KEPT]
        Path(job["done"]).write_text(str(done))
    np.savez(job["result"], **result)  # type: ignore[arg-type]  # numpy's stub: no keywords
    return DONE


if __name__ == "__main__":
    sys.exit(guarded(WORKER, lambda: work(Path(sys.argv[1])), debug=True))

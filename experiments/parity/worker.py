"""One backend in a process of its own: `python -m experiments.parity.worker JOB.json`, which parity starts by itself.

A job names `backend`, `device`, `spec`, `steps`, `cache`, and the files `result` (.npz) and `progress` (a number).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import backends
from experiments.parity.measure import load_examples, measure
from framework.errors import UserError
from framework.spec import DistillSpec


def work(job: dict[str, Any]) -> None:
    """Do a job and write its result."""
    progress = Path(job["progress"])
    spec = DistillSpec.from_dict(job["spec"])
    backend = backends.load(job["backend"])
    device = backend.configure(job["device"], None, spec.precision)
    examples = load_examples(spec.data, Path(job["cache"]))

    def report(done: int) -> None:
        progress.write_text(str(done))

    result = measure(backend, device, spec, examples, job["steps"], progress=report)
    about = json.dumps({"device": str(device), "versions": backend.versions()})
    np.savez(job["result"], about=np.array(about), **result)  # type: ignore[arg-type]  # numpy's stub: no keywords


def main() -> int:
    """Exit codes: 0 done, 1 a fault, 2 the user's mistake, 130 Ctrl-C."""
    try:
        work(json.loads(Path(sys.argv[1]).read_text()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The report of many runs: `python -m tests.experiments.reports.many --runs 500`.

Real journals with the default cadence's points, answers with thumbnails of photographs' size, and a real server of
their own: the report is made from both, by the command itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import defaults
from experiments.distillation import answers
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import open_database
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder
from framework.loop.cadence import Cadence
from tests.experiments.reports.noise import noise

STEPS = 20_000


def journaled(root: Path, number: int, classes: int = 37, test: int = 1000) -> Path:
    """One run as the training loop tells it."""
    random = np.random.default_rng(number)
    folder = new_run_folder(root)
    config = defaults("digits") | {
        "seed": number,
        "batch_size": 32 << number % 4,
        "backend": "torch",
        "device": "cpu:0",
    }
    with JournalRecorder(folder) as recorder:
        recorder.record(
            "run",
            experiment={"name": "run", "sources": []},
            command="main",
            host={"os": ["Linux"]},
            config=config,
            meta={},
        )
        recorder.started(
            config, {"versions": {"torch": "2"}, "fingerprint": f"{number:08x}", "fingerprint_no_seed": "f"}
        )
        cadence = Cadence(STEPS)
        for step in range(1, STEPS + 1):
            if cadence.logs_at(step):
                recorder.metrics(step, {"train.loss": random.random() + 1e4 / step, "train.grad_norm": random.random()})
            if cadence.evaluates_at(step):
                recorder.metrics(step, _measured(random, "validation"))
        end = {
            name: value for split in ("train", "validation", "test") for name, value in _measured(random, split).items()
        }
        recorder.metrics(STEPS, end)
        splits, found = noise(random, test, classes)
        recorder.artifact(answers.write(folder / answers.FILE, "test", splits, found))
        recorder.ended(
            "COMPLETED", {"steps": STEPS, "test": {"student": {"accuracy": random.random()}, "examples": 1.0}}
        )
    return folder


def _measured(random: Any, split: str) -> dict[str, float]:
    names = ("accuracy", "loss", "kl", "agreement@1", "agreement@5")
    found = {f"{split}.student.{name}": float(random.random()) for name in names}
    return found | {f"{split}.teacher.accuracy": 0.9, f"{split}.teacher.loss": 0.3, f"{split}.examples": 1000.0}


def timed(root: Path, output: Path, *more: str) -> dict[str, Any]:
    """One report in a process of its own, as people start it."""
    command = [sys.executable, "-m", "experiments.runs", "report", "--dir", str(root), "--output", str(output), *more]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {"seconds": round(time.perf_counter() - started, 2), "MB": round(output.stat().st_size / 1e6, 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="a folder for the runs and the pages")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        folders = [journaled(root, number) for number in range(given.runs)]
        found = {"runs": given.runs, "journals": timed(root, root / "journals.html", "--journal-only")}
        with open_database(None, False, root, required=True) as destination:
            assert destination.database is not None
            for folder in folders:
                replay(folder, destination.database)
            found["database"] = timed(root, root / "database.html")
        json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()

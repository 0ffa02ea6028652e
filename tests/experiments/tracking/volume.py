"""The room that a long run's numbers take: `python -m tests.experiments.tracking.volume --steps 2000000`.

The real tracker writes what the training loop's own cadence says, to the disk and to a real server of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.tracking import pieces
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import open_database
from experiments.tracking.recorder import Pace, Tracker
from framework.loop.cadence import Cadence

COLLECTIONS = ("runs", "metrics", "metric_chunks")


def volume(root: Path, steps: int, num_metrics: int, log_every: int | None = None) -> dict[str, Any]:
    """Write one run's metrics; what they take, as plain values: MB are 10^6 bytes.

    Args:
        root: a folder of its own.
        steps: of the run.
        num_metrics: in each of its points.
        log_every: as in `Cadence`; None is the default.
    """
    cadence = Cadence(steps, log_every)
    names = [f"train.metric_{number:02d}" for number in range(num_metrics)]
    with open_database(None, False, root, required=True) as destination:
        database, started, logged = destination.database, time.monotonic(), 0
        assert database is not None
        with Tracker(new_run_folder(root), destination, Pace(interval=0.5, close=600.0)) as tracker:
            tracker.started({"seed": 0}, {"fingerprint": "f"})
            for step in filter(cadence.logs_at, range(1, steps + 1)):
                # Values that no compression shortens much.
                tracker.metrics(step, {name: math.sin(step * (place + 1)) for place, name in enumerate(names)})
                logged += 1
            tracker.ended("COMPLETED", {"steps": steps})
        assert tracker.note is None, tracker.note
        points = sum(len(chunk["steps"]) for chunk in database.metric_chunks.find({}, {"steps": 1}))
        assert points == logged * num_metrics
        sizes = [database.command("collStats", name) for name in COLLECTIONS]
        journal = sum(part.path.stat().st_size for part in pieces.found(tracker.folder))
        return {
            "steps": steps,
            "logged steps": logged,
            "points": points,
            "journal_mb": round(journal / 1e6, 2),
            "run_folder_mb": round(_size(tracker.folder) / 1e6, 2),
            "mongodb_data_mb": round(sum(size["size"] for size in sizes) / 1e6, 2),
            "mongodb_stored_mb": round(sum(size["totalSize"] for size in sizes) / 1e6, 2),
            "seconds": round(time.monotonic() - started, 1),
        }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--log-every", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        json.dump(volume(Path(folder), given.steps, given.metrics, given.log_every), sys.stdout)


if __name__ == "__main__":
    main()

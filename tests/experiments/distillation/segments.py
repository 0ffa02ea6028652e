"""Small runs in segments, and the folders and checkpoints of such."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.tracking.folders import new_run_folder
from experiments.tracking.journal import Journal
from framework.files.checkpoints import Checkpoints
from framework.spec import DistillSpec

STEPS, STOP = 12, 6
SPEC: dict[str, Any] = {
    "views": {"size": 8, "flip": False, "truncate": False},
    "student": {"name": "convnet", "options": {"widths": [4]}},
    "teachers": [],
    "teaching": "labels",
    "loss": {"task_weight": 1.0},
    "schedule": {"name": "constant", "warmup_steps": 2},
    "duration": {"total_steps": STEPS},
    "batch_size": 6,
    "evaluation": {"num_times": 3, "train_subset": 6, "batch_size": 6},
}
FUNMATCH = {"teachers": [{"name": "teaching_model:build"}], "teaching": "funmatch", "loss": {}}


def images(shift: int = 0) -> Any:
    """A DatasetDict of three classes of noisy grey images."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rng = np.random.default_rng(shift)

    def split(count: int) -> Any:
        labels = [number % 3 for number in range(count)]
        pixels = [rng.integers(60 * label, 60 * label + 90, (9, 8, 3), dtype=np.uint8) for label in labels]
        return datasets.Dataset.from_dict({"image": pixels, "label": labels}, features=features)

    return datasets.DatasetDict(train=split(20), validation=split(6), test=split(6))


class Losses:
    """Keeps the metrics; sends a signal during a step: the one before it is told then."""

    def __init__(self, stop: int | None = None) -> None:
        self.values: dict[int, dict[str, float]] = {}
        self.stop = stop

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        assert not set(self.values.get(step, {})) & set(values), "a step was told twice"
        self.values.setdefault(step, {}).update(values)
        if self.stop is not None and step == self.stop - 1 and "train.loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)

    def artifact(self, path: Path) -> None: ...

    def ended(self, status: str, result: Mapping[str, Any]) -> None: ...


def checkpoint(folder: Path, step: int, **metadata: Any) -> Path:
    state = {"step": np.asarray(step), "student/a": np.ones(3)}
    base = {"spec": DistillSpec.from_dict(SPEC).to_dict(), "backend": "b", "total_steps": STEPS, "options": {}}
    return Checkpoints(folder / "checkpoints", keep=3).save(state, base | metadata)


def journaled(root: Path, **fields: Any) -> Path:
    time.sleep(0.002)  # names sort by the millisecond
    folder = new_run_folder(root)
    journal = Journal(folder)
    if fields:
        journal.append("fields", {"fields": fields})
    journal.close()
    return folder

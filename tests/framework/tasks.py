"""A task of three small models, and a batch of four images for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from framework.draws.views import draw
from framework.models import catalog
from framework.protocols import Batch
from framework.spec import DistillSpec
from framework.task import Task

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 9, 11, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, -1])
MODEL = {"name": "convnet", "options": {"widths": [4]}}


def task_of(**changes: Any) -> Task:
    spec = DistillSpec.from_dict(
        {"student": MODEL, "teachers": [MODEL], "batch_size": 4, "views": {"size": 6}} | changes
    )
    models = [catalog.build("convnet", {"widths": [4]}, 3, 6, seed) for seed in range(1 + len(spec.teachers))]
    return Task(spec, models[0], models[1:], total_steps=10)


def batch_of(task: Task, **changes: Any) -> Batch:
    draws = draw(task.spec, 2, np.arange(4), np.zeros(4, np.int64), np.tile([9, 11], (4, 1)))
    return Batch(**{"images": IMAGES, "draws": draws, "labels": LABELS} | changes)


def views_of(task: Task, batch: Batch) -> list[np.ndarray]:
    inputs = {name: ops.convert_to_tensor(array) for name, array in task.inputs(batch).items()}
    return [np.array(ops.convert_to_numpy(view)) for view in task.views(inputs)]

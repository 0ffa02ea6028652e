"""Loops over a few random images, for the tests of what a loop does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from framework.data.loader import Loader
from framework.data.source import Splits
from framework.files.checkpoints import Checkpoints
from framework.loop.cadence import Cadence
from framework.loop.evaluator import Evaluator, evaluation_batches
from framework.loop.fit import Loop
from framework.loop.progress import Progress
from framework.protocols import Array, Trainer
from framework.spec import DistillSpec

STEPS = 6
SPEC = DistillSpec.from_dict(
    {
        "student": {"name": "convnet", "options": {"widths": [4]}},
        "teachers": [],
        "teaching": "labels",
        "loss": {"task_weight": 1.0},
        "views": {"size": 8, "mixup": 0.0},
        "duration": {"total_steps": STEPS},
        "optimizer": {"lr": 0.01},
        "batch_size": 4,
        "evaluation": {"train_subset": 3, "batch_size": 8},
    }
)


class Images:
    """Eight random images of two classes."""

    name, num_examples, classes, uniform, fingerprint = "images[train]", 8, ("a", "b"), (8, 8), "0"

    def __init__(self) -> None:
        self._images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)

    def images(self, ids: Array) -> Sequence[Array]:
        return self._images[ids]  # type: ignore[return-value]

    def sizes(self, ids: Array) -> Array:
        return np.full((len(ids), 2), 8, np.int32)

    def labels(self, ids: Array) -> Array:
        return (ids % 2).astype(np.int32)


@dataclass
class Written:
    """Keeps what it is told; may do something at each step."""

    at: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    also: Callable[[int], Any] = lambda step: None

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.at.append((step, dict(values)))
        self.also(step)

    def artifact(self, path: Path) -> None: ...

    def ended(self, status: str, result: Mapping[str, Any]) -> None: ...

    def steps(self, name: str) -> list[int]:
        return [step for step, values in self.at if name in values]


@dataclass
class After(Progress):
    """Does something after each step."""

    also: Callable[[int], Any]

    def update(self, step: int) -> None:
        self.also(step)


def loop_of(trainer: Trainer, folder: Path, **changes: Any) -> Loop:
    """A loop over `Images` from the trainer's step on; `changes` replace its parts."""
    source = Images()
    splits = Splits(source, source, None, source.classes, "images", "0")
    given: dict[str, Any] = {
        "trainer": trainer,
        "batches": Loader(SPEC, source, STEPS).batches,
        "evaluator": Evaluator(SPEC, evaluation_batches(SPEC, splits), trainer),
        "recorder": Written(),
        "cadence": Cadence(STEPS, log_every=1, num_evaluations=2),
        "checkpoints": Checkpoints(folder),
        "metadata": {"fingerprint": SPEC.fingerprint},
    }
    return Loop(**(given | changes))


def equal(mine: Mapping[str, Array], theirs: Mapping[str, Array]) -> bool:
    return mine.keys() == theirs.keys() and all(np.array_equal(array, theirs[name]) for name, array in mine.items())

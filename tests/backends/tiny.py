"""A tiny distillation that each engine compiles in seconds, and parts to build others of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.base import Backend, Device
from framework.draws.order import ExampleOrder
from framework.draws.views import draw
from framework.protocols import Batch, EvalBatch, Trainer
from framework.spec import DistillSpec

SIZE, CANVAS, CLASSES, EXAMPLES = 8, 10, 4, 32


def normed(num_classes: int, image_size: int, ours: bool = True) -> Any:
    """A net of two convolutions with BatchNorm, ours or Keras's."""
    import keras

    from framework.models import initial, layers

    view = x = keras.Input((image_size, image_size, 3))
    for place, stride in enumerate((1, 2)):
        x = layers.Conv2D(6, 3, stride, "same", name=f"conv{place}")(x)
        kind = layers.BatchNorm if ours else keras.layers.BatchNormalization
        x = keras.ops.relu(kind(momentum=0.9, name=f"norm{place}")(x))
    model = keras.Model(view, layers.Dense(num_classes, name="head")(keras.layers.Flatten()(x)), name="normed")
    # Keras's norm has filled itself.
    initial.initialise(model, 0, [name for name in initial.parameters(model) if ours or not name.startswith("norm")])
    return model


@dataclass
class Tiny:
    """Data and models of one small problem."""

    backend: Backend
    device: Device

    @staticmethod
    def spec(**changes: Any) -> DistillSpec:
        small = {"name": "convnet", "options": {"widths": [8]}}
        base = {
            "student": small,
            "teachers": [small],
            "views": {"size": SIZE, "area": [0.5, 1.0]},
            "optimizer": {"lr": 0.01},
            "batch_size": 8,
        }
        return DistillSpec.from_dict(base | changes)

    @staticmethod
    def images() -> np.ndarray:
        """uint8 [N, H, W, 3]: each class has a colour."""
        rng = np.random.default_rng(0)
        colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [160, 160, 60]])
        noise = rng.integers(-50, 51, (EXAMPLES, CANVAS, CANVAS, 3))
        return (colours[np.arange(EXAMPLES) % CLASSES][:, None, None] + noise).astype(np.uint8)

    def batch(self, spec: DistillSpec, step: int) -> Batch:
        ids, epochs = ExampleOrder(EXAMPLES, spec.batch_size, spec.seed).batch(step)
        draws = draw(spec, step, ids, epochs, np.full((len(ids), 2), CANVAS))
        labels = (ids % CLASSES).astype(np.int32) if spec.loss.task_weight else None
        return Batch(images=self.images()[ids], draws=draws, labels=labels)

    @staticmethod
    def eval_batches(size: int = 12) -> list[EvalBatch]:
        rng = np.random.default_rng(5)
        views = rng.uniform(-1, 1, (2, size, SIZE, SIZE, 3)).astype(np.float32)
        labels = rng.integers(-1, CLASSES, (2, size)).astype(np.int32)
        mask = np.ones((2, size), np.float32)
        mask[1, size // 2 :] = 0
        return [EvalBatch(*each) for each in zip(views, labels, mask, strict=True)]

    @staticmethod
    def model(spec: Any, seed: int = 0) -> Any:
        from framework.models import catalog

        return catalog.build(spec.name, spec.options, CLASSES, SIZE, seed)

    def trainer(self, spec: DistillSpec, seed: int = 0, steps: int = 100, student: Any = None, **options: Any) -> Any:
        """A trainer of fresh models; the teachers' weights don't depend on `seed`, the student's do."""
        teachers = [self.model(each, seed=100 + place) for place, each in enumerate(spec.teachers)]
        student = student if student is not None else self.model(spec.student, seed=seed)
        options = {"total_steps": steps, "device": self.device} | options
        return self.backend.compile(spec, student, teachers, **options)

    def run(self, trainer: Trainer, spec: DistillSpec, steps: int) -> list[float]:
        """The losses of the next steps."""
        return [float(trainer.step(self.batch(spec, trainer.steps_done))["loss"]) for _ in range(steps)]


def equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    """Demand the same names in the same order, of the same dtypes and values."""
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype, name
        np.testing.assert_array_equal(array.astype(np.float64), other[name].astype(np.float64), err_msg=name)

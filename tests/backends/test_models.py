"""Models of every kind as student and as teacher: a BatchNorm net of ours, one of Keras's applications, a file."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from framework.models import catalog, mobilenet_v3
from framework.models.mobilenet_v3 import Row
from framework.spec import DistillSpec
from tests.backends import contract
from tests.backends.tiny import CLASSES, SIZE, Tiny

# One row of each kind: without and with an expansion, squeezing, a stride, a sum.
ROWS = (Row(1, 16, 3, 1, True, "relu"), Row(2, 16, 3, 2, False, "relu"), Row(2, 16, 5, 1, True, "hard_swish"))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_mobilenet_learns_and_then_teaches(
    norm: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mobilenet_v3.VARIANTS, "small", (ROWS, 16))
    own = {"name": "mobilenet_v3", "options": {"variant": "small", "norm": norm, "head_zero_init": False}}
    spec = tiny.spec(student=own)
    weights = contract.learns(tiny, spec)
    assert ("conv_norm/moving_mean" in weights) == (norm == "batch")
    contract.teaches_when_stored(tiny, spec, weights, tmp_path / "stored")


def test_a_file_learns_and_then_teaches(tiny: Tiny, tmp_path: Path) -> None:
    image = keras.Input((SIZE, SIZE, 3))
    hidden = keras.layers.Conv2D(6, 3, strides=2, use_bias=False)(image)
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.8)(hidden))
    logits = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(hidden))
    keras.Model(image, logits).save(tmp_path / "own.keras")
    own = {"name": str(tmp_path / "own.keras"), "options": {}}
    spec = tiny.spec(student=own, teachers=[{"name": "convnet", "options": {"widths": [8]}}])
    weights = contract.learns(tiny, spec)
    contract.teaches_when_stored(tiny, spec, weights, tmp_path / "stored")


@pytest.mark.slow
def test_an_application_learns_from_another(tiny: Tiny) -> None:
    """At the least size that they take; their own initialisers, so that there is something to learn from."""
    name, size = "keras.applications:MobileNet", 32
    options = {"alpha": 0.25, "dropout": 0.0}
    model = {"name": name, "options": options}
    spec = DistillSpec.from_dict(
        {
            "student": model,
            "teachers": [model],
            "views": {"size": size},
            "batch_size": 8,
            "optimizer": {"name": "sgd", "lr": 0.0001, "weight_decay": 0.0},
            "teaching": "consistent",
        }
    )
    # Down the gradient by so little that the same batch's loss must fall: BatchNorm over eight examples is steep.
    student, teacher = (catalog.build(name, options, CLASSES, size, seed) for seed in (0, 1))
    trainer = tiny.backend.compile(spec, student, [teacher], total_steps=100, device=tiny.device)
    batch = tiny.batch(spec, 0)
    losses = [float(trainer.step(batch)["loss"]) for _ in range(3)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]

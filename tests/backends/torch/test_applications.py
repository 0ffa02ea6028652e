"""One of Keras's applications as student and as teacher: here alone, since elsewhere it compiles for a minute."""

from __future__ import annotations

import numpy as np

from framework.models import catalog
from framework.spec import DistillSpec
from tests.backends.tiny import CLASSES, Tiny


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

"""What the process is told about precision."""

from __future__ import annotations

from typing import Any

import torch
from keras.src.backend.torch import core

from backends.base import Settings


def test_tensorfloat32_is_off_unless_asked_for(engine: Any) -> None:
    engine.configure(Settings("cpu"))
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
    try:
        engine.configure(Settings("cpu", tf32=True))
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, True)
    finally:
        engine.configure(Settings("cpu"))


def test_a_trainer_s_device_is_not_keras_s(tiny: Any, monkeypatch: Any) -> None:
    """Keras makes its constants on a device of its own, unless it is told."""
    spec = tiny.spec(views={"size": 8, "mixup": 0.5}, loss={"task_weight": 0.5})
    expected = tiny.trainer(spec, grad_accum_steps=2)
    trainer = tiny.trainer(spec, grad_accum_steps=2)
    losses = tiny.run(expected, spec, 3)
    measured, taught = expected.evaluate(tiny.eval_batches()), expected.teach(tiny.batch(spec, 0))
    monkeypatch.setattr(core, "DEFAULT_DEVICE", "meta")
    assert core.get_device() == "meta"
    assert tiny.run(trainer, spec, 3) == losses
    assert trainer.evaluate(tiny.eval_batches()) == measured
    assert (trainer.teach(tiny.batch(spec, 0))[0] == taught[0]).all()
    state = trainer.state()
    trainer.restore(state)
    assert all((expected.state()[name] == array).all() for name, array in state.items())

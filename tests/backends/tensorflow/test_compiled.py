"""A step is traced once."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def test_steps_share_one_trace(tiny: Any) -> None:
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    tiny.run(trainer, spec, 5)
    trainer.restore(trainer.state())
    tiny.run(trainer, spec, 2)
    assert trainer._update.experimental_get_tracing_count() == 1


def test_evaluations_share_one_trace(tiny: Any) -> None:
    trainer = tiny.trainer(tiny.spec())
    for _ in range(3):
        trainer.evaluate(tiny.eval_batches())
    assert trainer._sums.experimental_get_tracing_count() == 1


def test_moments_are_no_parameters(tiny: Any) -> None:
    trainer = tiny.trainer(tiny.spec())
    assert not any(variable.trainable for each in trainer._moments.values() for variable in each)
    assert all(isinstance(variable, tf.Variable) for each in trainer._moments.values() for variable in each)

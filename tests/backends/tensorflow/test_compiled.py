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
    assert trainer._measure.experimental_get_tracing_count() == 1


def test_moments_are_no_parameters(tiny: Any) -> None:
    trainer = tiny.trainer(tiny.spec())
    assert not any(variable.trainable for each in trainer.carry["moments"].values() for variable in each)
    assert all(isinstance(variable, tf.Variable) for each in trainer.carry["moments"].values() for variable in each)


def test_rematerialised_blocks_are_computed_again(tiny: Any, plain_and_again: tuple[Any, Any, Any]) -> None:
    spec, plain, again = plain_and_again
    counts = []
    for trainer in (plain, again):
        program = trainer._differentiate.get_concrete_function(trainer.see(tiny.batch(spec, 0))[0])
        counts.append(sum(operation.type == "Conv2D" for operation in program.graph.get_operations()))
    assert counts[1] > counts[0]

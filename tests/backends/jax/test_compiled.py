"""A step is compiled once, and its state is given back to it."""

from __future__ import annotations

from typing import Any

import jax
import pytest


def test_steps_share_one_compilation(tiny: Any) -> None:
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    tiny.run(trainer, spec, 5)
    trainer.restore(trainer.state())
    tiny.run(trainer, spec, 2)
    assert trainer._update.__wrapped__._cache_size() == 1


def test_evaluations_share_one_compilation(tiny: Any) -> None:
    trainer = tiny.trainer(tiny.spec())
    for _ in range(3):
        trainer.evaluate(tiny.eval_batches())
    assert trainer._measure.__wrapped__._cache_size() == 1


def test_the_state_is_donated(tiny: Any) -> None:
    spec = tiny.spec()
    trainer = tiny.trainer(spec)
    before = jax.tree.leaves(trainer.carry)
    tiny.run(trainer, spec, 1)
    assert all(leaf.is_deleted() for leaf in before)


def test_uncompiled_steps_compute_the_same(tiny: Any) -> None:
    spec = tiny.spec()
    plain, compiled = (tiny.run(tiny.trainer(spec, jit=jit), spec, 1) for jit in (False, None))
    assert plain == pytest.approx(compiled, rel=1e-5)


def test_rematerialised_blocks_are_computed_again(tiny: Any, plain_and_again: tuple[Any, Any, Any]) -> None:
    spec, plain, again = plain_and_again
    seen = plain.see(tiny.batch(spec, 0))[0]
    programs = [str(jax.make_jaxpr(each.gradients)(each.carry, seen)) for each in (plain, again)]
    assert [" remat" in program for program in programs] == [False, True]

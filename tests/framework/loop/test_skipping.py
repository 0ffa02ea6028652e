"""Losses and gradients that are NaN or infinite, and steps that are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from framework.loop.cadence import Cadence
from framework.loop.fit import Loop
from framework.protocols import Batch
from tests.framework.loop.loops import STEPS, equal

pytestmark = pytest.mark.backend


def test_a_loss_that_is_no_number_fails_and_is_never_kept(made: Callable[..., Loop]) -> None:
    loop = made()
    batches = loop.batches

    def spoiled(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start), start + 1):
            if step == 5:
                state = loop.trainer.state()
                loop.trainer.restore({n: a * np.nan if n.endswith("head/bias") else a for n, a in state.items()})
            yield batch

    loop.batches, loop.cadence = spoiled, Cadence(STEPS, log_every=100, num_evaluations=0, checkpoint_minutes=1e-9)
    outcome = loop.run()
    assert (outcome.status, outcome.steps) == ("FAILED", 5)
    assert "the loss is nan at step 5: try a lower optimizer.lr" in str(outcome.error)
    assert outcome.kept is not None
    assert outcome.kept.name == "step_000000004.safetensors"


def test_a_state_that_is_no_number_is_never_kept(made: Callable[..., Loop]) -> None:
    loop = made(cadence=Cadence(STEPS, 100, 0, 1e9, 2))
    step, spoil = loop.trainer.step, iter(range(STEPS))

    def spoiled(batch: Batch) -> Any:
        metrics = step(batch)
        # The loss was still finite, what it left behind is not.
        if next(spoil) == 3:
            state = loop.trainer.state()
            loop.trainer.restore({n: a * np.nan if n.endswith("head/bias") else a for n, a in state.items()})
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.trainer, "step", spoiled)
        outcome = loop.run()
    assert outcome.status == "FAILED"
    assert isinstance(outcome.error, FloatingPointError)
    assert outcome.kept is not None
    assert outcome.kept.name == "step_000000002.safetensors"


def test_the_message_names_the_first_step_that_was_no_number(made: Callable[..., Loop]) -> None:
    loop = made(cadence=Cadence(STEPS, 100, 0, 1e9), explain=lambda step: f" (draws of {step})")
    batches = loop.batches

    def spoiled(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start), start + 1):
            if step == 3:
                state = loop.trainer.state()
                loop.trainer.restore({n: a * np.nan if n.endswith("head/bias") else a for n, a in state.items()})
            yield batch

    loop.batches = spoiled
    outcome = loop.run()
    assert outcome.steps == STEPS
    assert "the loss is nan at step 3 (draws of 3): try a lower" in str(outcome.error)
    assert outcome.kept is None


def spoiling(loop: Loop, *steps: int) -> None:
    """Let the images of some steps be such that the loss is no number."""
    batches = loop.batches

    def spoiled(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start), start + 1):
            if step in steps:
                assert batch.draws is not None
                nowhere = replace(batch.draws.student, boxes=batch.draws.student.boxes * np.nan)
                batch = replace(batch, draws=replace(batch.draws, student=nowhere, teacher=nowhere))
            yield batch

    loop.batches = spoiled


@pytest.mark.parametrize("log_every", [1, 4])
def test_a_step_that_is_left_out_is_as_if_it_had_not_been(made: Callable[..., Loop], log_every: int) -> None:
    told: list[str] = []
    loop = made(
        on_nan="skip", warn=told.append, cadence=Cadence(STEPS, log_every, 0), explain=lambda step: f" <{step}>"
    )
    spoiling(loop, 2, 3, 5)
    outcome = loop.run()
    assert (outcome.status, outcome.steps, outcome.result["skipped"]) == ("COMPLETED", STEPS, 3)
    recorder: Any = loop.recorder
    assert recorder.steps("train.skipped") == [2, 3, 5]
    assert len(set(recorder.steps("train.loss"))) == len(recorder.steps("train.loss"))
    assert [line.partition(";")[0] for line in told] == [
        f"warning: the loss is nan at step {step} <{step}>" for step in (2, 3, 5)
    ]
    # The same steps by hand.
    plain = made(1, checkpoints=None)
    plain.trainer.restore(made().trainer.state())
    for batch in plain.batches(0):
        if plain.trainer.steps_done + 1 in (2, 3, 5):
            plain.trainer.steps_done += 1
        else:
            plain.trainer.step(batch)
    assert loop.checkpoints is not None
    assert equal(loop.checkpoints.load()[0], plain.trainer.state())


def test_a_run_of_nothing_but_bad_steps_ends(made: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework.loop.skipping.MOST", 3)
    loop = made(on_nan="skip", warn=lambda line: None, cadence=Cadence(STEPS, 1, 0, 1e9))
    spoiling(loop, *range(2, STEPS + 1))
    outcome = loop.run()
    assert outcome.status == "FAILED"
    assert "the loss is nan at step 5: try a lower" in str(outcome.error)
    assert outcome.kept is None


@pytest.mark.parametrize(("norm", "times"), [(0.0, 1), (1e-30, 0)])
def test_a_gradient_of_nothing_is_told_once(
    made: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch, norm: float, times: int
) -> None:
    told: list[str] = []
    loop = made(warn=told.append, cadence=Cadence(STEPS, 1, 0))
    step = loop.trainer.step
    monkeypatch.setattr(loop.trainer, "step", lambda batch: {**step(batch), "grad_norm": norm})
    assert loop.run().status == "COMPLETED"
    assert [line.partition(":")[2][:42] for line in told] == [" the gradient is exactly 0 at step 1, so t"] * times

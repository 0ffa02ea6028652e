"""Several steps in one call of a program: the same run, however it is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from framework.loop.cadence import Cadence
from framework.loop.fit import Loop
from framework.loop.stop import Stop
from framework.protocols import Batch
from tests.backends.contract import equal

STEPS = 21


def forced(tiny: Any, spec: Any, together: int = 8, **options: Any) -> Any:
    """A trainer that does on a CPU what it does on an accelerator."""
    trainer = tiny.trainer(spec, steps=STEPS, **options)
    trainer.together = together
    return trainer


SPECS: dict[str, Any] = {
    "funmatch": {},
    "labels": {"loss": {"task_weight": 0.5}},
    "sgd": {"optimizer": {"name": "sgd", "lr": 0.1}},
    "bfloat16 moments": {"optimizer": {"lr": 0.01, "moment_dtype": "bfloat16"}},
}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", SPECS)
def test_it_is_the_run_of_single_steps(name: str, parts: int, tiny: Any) -> None:
    spec = tiny.spec(**SPECS[name])
    one, many = tiny.trainer(spec, grad_accum_steps=parts, steps=STEPS), forced(tiny, spec, grad_accum_steps=parts)
    expected = [one.step(tiny.batch(spec, step)) for step in range(8)]
    found = many.steps([tiny.batch(spec, step) for step in range(8)])
    assert many.steps_done == 8
    for each, other in zip(found, expected, strict=True):
        for metric in ("loss", "grad_norm"):
            assert float(each[metric]) == pytest.approx(float(other[metric]), rel=1e-4)
    for key, array in one.state().items():
        # One program and two add up in different orders; AdamW's first steps enlarge that.
        np.testing.assert_allclose(many.state()[key].astype(float), array.astype(float), rtol=1e-2, atol=1e-3)


def test_how_it_is_cut_changes_no_bit(tiny: Any) -> None:
    spec = tiny.spec()
    states = []
    for cuts in ([8, 8, 5], [1, 7, 3, 8, 2], [1] * STEPS):
        trainer, losses = forced(tiny, spec), []
        for count in cuts:
            first = trainer.steps_done
            done = trainer.steps([tiny.batch(spec, first + number) for number in range(count)])
            losses += [float(each["loss"]) for each in done]
        states.append({**trainer.state(), "losses": np.array(losses)})
    equal(states[0], states[1])
    equal(states[0], states[2])


class Told:
    """A recorder."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def metrics(self, step: int, values: Any) -> None:
        if "train.loss" in values:
            self.losses[step] = values["train.loss"]


class NoEvaluation:
    def evaluate(self) -> dict[str, float]:
        return {}

    along_the_way = evaluate


def loop(tiny: Any, trainer: Any, spec: Any, told: Told, stop: Stop, **changes: Any) -> Loop:
    def batches(start: int) -> Any:
        for step in range(start, STEPS):
            if step == changes.get("signal"):
                stop.status = "PREEMPTED"
            yield tiny.batch(spec, step)

    evaluator: Any = NoEvaluation()
    recorder: Any = told
    cadence = Cadence(STEPS, log_every=changes.get("log_every", 5), num_evaluations=0)
    return Loop(trainer, batches, evaluator, recorder, cadence, stop=stop, together=changes["together"])


@pytest.mark.parametrize("log_every", [1, 5, 8, 30])
def test_logs_are_those_of_single_steps(log_every: int, tiny: Any) -> None:
    spec, found = tiny.spec(), []
    for together in (1, 8):
        told = Told()
        outcome = loop(tiny, forced(tiny, spec), spec, told, Stop(), together=together, log_every=log_every).run()
        assert outcome.error is None
        found.append(told.losses)
    assert found[0] == found[1]
    assert list(found[1]) == [*range(log_every, STEPS + 1, log_every)] + ([STEPS] if STEPS % log_every else [])


def test_a_signal_ends_it_between_two_calls_and_a_resume_is_exact(tiny: Any) -> None:
    spec = tiny.spec()
    whole = forced(tiny, spec)
    loop(tiny, whole, spec, Told(), Stop(), together=8, log_every=30).run()
    stopped = forced(tiny, spec)
    outcome = loop(tiny, stopped, spec, Told(), Stop(), together=8, log_every=30, signal=10).run()
    assert (outcome.status, outcome.steps) == ("PREEMPTED", 16)
    resumed = forced(tiny, spec, seed=3)
    resumed.restore(stopped.state())
    loop(tiny, resumed, spec, Told(), Stop(), together=3, log_every=30).run()
    equal(resumed.state(), whole.state())


def test_a_nan_is_found_at_its_own_step(tiny: Any) -> None:
    spec = tiny.spec()
    views = np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 3)).astype(np.float32)
    made, told = {11: np.full_like(views, np.nan)}, []
    for together in (1, 8):
        running = loop(tiny, forced(tiny, spec), spec, Told(), Stop(), together=together, log_every=30)
        running.batches = lambda start: (Batch(views=(made.get(step, views),) * 2) for step in range(start, STEPS))
        outcome = running.run()
        assert outcome.status == "FAILED"
        told.append(str(outcome.error))
    assert told[0] == told[1]
    assert told[0].startswith("the loss is nan at step 1")

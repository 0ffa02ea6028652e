"""The learning rate's course against the authors' schedule (tests/golden/schedule.npz)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.errors import UserError
from framework.schedules import SCHEDULES, make, warmup_cosine
from framework.spec import ScheduleSpec

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "schedule.npz")
RECIPES = dict(zip(GOLDEN["table/name"].tolist(), GOLDEN["table/n_bs_epochs_warmup_total"].tolist(), strict=True))
# The authors also write a warm-up in percent, epochs or examples; this is what theirs make of it.
WARMUP = {"s1": 5, "s2": 0, "s3": 10, "s4": 8, "s5": 3}


def compare(name: str, total_steps: int, warmup_steps: int) -> None:
    schedule = make(ScheduleSpec(warmup_steps=warmup_steps), total_steps)
    steps = GOLDEN[f"{name}/steps"].tolist()
    assert len(steps) > 10
    np.testing.assert_allclose([schedule(step) for step in steps], GOLDEN[f"{name}/sched"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_the_paper_s_recipes(name: str) -> None:
    *_, warmup_steps, total_steps = RECIPES[name]
    compare(name, total_steps, warmup_steps)


@pytest.mark.parametrize("name", WARMUP)
def test_every_step_of_small_schedules(name: str) -> None:
    compare(name, json.loads(GOLDEN[f"{name}/config"].item())["total_steps"], WARMUP[name])


def test_the_first_update_of_a_warm_up_is_nothing() -> None:
    assert warmup_cosine(40, 5)(0) == 0
    assert warmup_cosine(40, 0)(0) == 1


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 10**7), st.floats(0, 0.99), st.integers(0, 2 * 10**7))
def test_a_factor_is_a_share(name: str, total_steps: int, warmup: float, step: int) -> None:
    factor = make(ScheduleSpec(name=name, warmup_steps=int(total_steps * warmup)), total_steps)(step)
    assert type(factor) is float
    assert 0 <= factor <= 1


def test_constant_stays_at_the_peak() -> None:
    schedule = make(ScheduleSpec(name="constant", warmup_steps=4), 10)
    assert [schedule(step) for step in (0, 1, 4, 9, 1000)] == [0, 0.25, 1, 1, 1]


def test_bit_s_staircase() -> None:
    schedule = make(ScheduleSpec(name="staircase", warmup_steps=500), 10_000)
    found = [schedule(step) for step in (0, 250, 500, 2999, 3000, 5999, 6000, 8999, 9000, 9999)]
    np.testing.assert_allclose(found, [0, 0.5, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"schedule\.name = 'cosin': did you mean 'cosine'"):
        make(ScheduleSpec(name="cosin"), 10)
    with pytest.raises(UserError, match=r"schedule\.warmup_steps = 10: the run has only 10 steps"):
        make(ScheduleSpec(warmup_steps=10), 10)
    assert make(ScheduleSpec(warmup_steps=0), 1)(0) == 1

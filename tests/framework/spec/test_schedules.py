"""The learning rate's course against the authors' schedule (schedule*.npz of tests/golden)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.errors import UserError
from framework.spec import ScheduleSpec
from framework.spec.schedules import SCHEDULES, make, warmup_cosine
from tests.recorded import params, recordings

GOLDEN = recordings("schedule")
RECIPES = [
    (file, name) for file, arrays in GOLDEN.items() if "table/name" in arrays for name in arrays["table/name"].tolist()
]
SMALL = [
    (file, key.removesuffix("/config"))
    for file, arrays in GOLDEN.items()
    for key in arrays.files
    if key.endswith("/config")
]
Config = dict[str, Any]
# The authors also write a warm-up in percent, epochs or examples; this is what theirs make of it.
WARMUP: dict[str, Callable[[Config], float]] = {
    "warmup_steps": lambda config: config["warmup_steps"],
    "warmup_percent": lambda config: config["warmup_percent"] * config["total_steps"],
    "warmup_epochs": lambda config: config["warmup_epochs"] * config["data_size"] / config["batch_size"],
    "warmup_examples": lambda config: config["warmup_examples"] / config["batch_size"],
}


def warmup_steps(config: Config) -> int:
    """Rounded to even, but at least one where there is a warm-up at all."""
    [unit] = config.keys() - {"total_steps", "batch_size", "data_size"}
    steps = WARMUP[unit](config)
    return max(1, round(steps)) if steps else 0


def compare(file: str, name: str, total_steps: int, warmup: int) -> None:
    schedule = make(ScheduleSpec(warmup_steps=warmup), total_steps)
    steps = GOLDEN[file][f"{name}/steps"].tolist()
    assert len(steps) > min(total_steps, 10)
    np.testing.assert_allclose([schedule(step) for step in steps], GOLDEN[file][f"{name}/sched"], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("file", "name"), params(RECIPES))
def test_the_paper_s_recipes(file: str, name: str) -> None:
    row = GOLDEN[file]["table/name"].tolist().index(name)
    *_, warmup, total_steps = GOLDEN[file]["table/n_bs_epochs_warmup_total"][row].tolist()
    compare(file, name, total_steps, warmup)


@pytest.mark.parametrize(("file", "name"), params(SMALL))
def test_every_step_of_small_schedules(file: str, name: str) -> None:
    config = json.loads(GOLDEN[file][f"{name}/config"].item())
    assert set(range(config["total_steps"])) <= set(GOLDEN[file][f"{name}/steps"].tolist())
    compare(file, name, config["total_steps"], warmup_steps(config))


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

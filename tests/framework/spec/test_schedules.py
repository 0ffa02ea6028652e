"""The learning rate's course against the authors' schedule (schedule*.npz of tests/golden)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.errors import UserError
from framework.spec import ExtensionSpec, ScheduleSpec
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


def test_a_run_that_was_made_longer() -> None:
    def course(*extensions: ExtensionSpec, warmup: int = 0) -> list[float]:
        schedule = make(ScheduleSpec(warmup_steps=warmup, extensions=extensions), 16)
        return [schedule(step) for step in range(17)]

    before = [make(ScheduleSpec(), 8)(step) for step in range(9)]
    at_its_end = course(ExtensionSpec(at=8, before=8, how="restart"))
    assert at_its_end == before[:8] + before
    halfway = course(ExtensionSpec(at=4, before=8, how="cosine", level=0.5))
    assert halfway[:5] == before[:5]
    np.testing.assert_allclose(halfway[4:], [0.25 * (1 + math.cos(math.pi * k / 12)) for k in range(13)])
    assert course(ExtensionSpec(at=8, before=8, how="constant", level=0.1))[7:] == [before[7], *[0.1] * 9]
    # Twice longer: the first extension lasted until the run was 12 steps long.
    twice = course(
        ExtensionSpec(at=8, before=8, how="restart"),
        ExtensionSpec(at=10, before=12, how="constant", level=0.2),
    )
    short = make(ScheduleSpec(), 4)
    assert twice == [*before[:8], short(0), short(1), *[0.2] * 7]
    warm = course(ExtensionSpec(at=8, before=8, how="restart"), warmup=4)
    assert [warm[8], warm[10]] == [0, warm[2]]
    with pytest.raises(UserError, match="the run has only 3 steps for it"):
        course(ExtensionSpec(at=13, before=14, how="restart"), warmup=4)


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"schedule\.name = 'cosin': did you mean 'cosine'"):
        make(ScheduleSpec(name="cosin"), 10)
    with pytest.raises(UserError, match=r"schedule\.warmup_steps = 10: the run has only 10 steps"):
        make(ScheduleSpec(warmup_steps=10), 10)
    assert make(ScheduleSpec(warmup_steps=0), 1)(0) == 1

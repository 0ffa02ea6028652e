"""When a loop logs and evaluates."""

from __future__ import annotations

import numpy as np
import pytest

from framework.loop.cadence import Cadence


@pytest.mark.parametrize("total", [1, 7, 10, 1000, 100_003])
@pytest.mark.parametrize("times", [0, 1, 3, 10])
def test_cadence(total: int, times: int) -> None:
    cadence = Cadence(total, num_evaluations=times)
    evaluations = [step for step in range(1, total + 1) if cadence.evaluates_at(step)]
    # The last one is the end's own.
    assert len(evaluations) == max(0, min(times, total) - 1)
    if len(evaluations) > 1:
        gaps = np.diff([0, *evaluations, total])
        assert gaps.max() - gaps.min() <= 1
    logs = [step for step in range(1, total + 1) if cadence.logs_at(step)]
    assert logs[-1] == total
    assert len(logs) <= 801
    assert len(logs) >= min(total, 400)


def test_a_cadence_over_the_logarithm_of_the_steps() -> None:
    cadence = Cadence(10_000, num_evaluations=8, spacing="log")
    steps = [step for step in range(1, 10_001) if cadence.evaluates_at(step)]
    # The last one is the end's own.
    assert steps == [3, 10, 32, 100, 316, 1000, 3162]
    assert not any(Cadence(10_000, num_evaluations=0, spacing="log").evaluates_at(step) for step in steps)
    assert not Cadence(1, num_evaluations=8, spacing="log").evaluates_at(1)


def test_log_every() -> None:
    cadence = Cadence(10, log_every=4)
    assert [step for step in range(1, 11) if cadence.logs_at(step)] == [4, 8, 10]

"""Epochs and examples as steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from framework.spec import DurationSpec
from tests.recorded import recordings

GOLDEN = recordings("schedule")


def durations(arrays: np.lib.npyio.NpzFile) -> list[tuple[Any, ...]]:
    """Examples, batch size, epochs and steps: the recorded durations and those of the table of recipes."""
    cases: list[tuple[Any, ...]] = []
    if "durations/steps" in arrays:
        rows, steps = arrays["durations/n_bs_epochs"], arrays["durations/steps"]
        cases += zip(*rows.T.tolist(), steps.tolist(), strict=True)
    if "table/name" in arrays:
        cases += map(tuple, arrays["table/n_bs_epochs_warmup_total"][:, [0, 1, 2, 4]].tolist())
    return cases


@pytest.mark.parametrize("file", [file for file, arrays in GOLDEN.items() if durations(arrays)])
def test_epochs_become_steps_as_in_the_authors_code(file: str) -> None:
    cases = durations(GOLDEN[file])
    asked = [case for case in cases if case[2] > 0]
    assert asked
    for num_examples, batch_size, epochs, steps in asked:
        assert DurationSpec(total_epochs=epochs).steps(num_examples, batch_size) == steps
    # No epoch is no step there, and a mistake here.
    assert not any(steps for *_, epochs, steps in cases if epochs == 0)


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ({"total_steps": 7}, 7),
        ({"total_examples": 25}, 2),  # 2.5 and 3.5 both go to the even one
        ({"total_examples": 35}, 4),
        ({"total_examples": 1}, 1),
        ({"total_epochs": 0.001}, 1),
    ],
)
def test_steps_are_rounded_to_even_and_at_least_one(duration: dict[str, Any], steps: int) -> None:
    assert DurationSpec(**duration).steps(100, 10) == steps

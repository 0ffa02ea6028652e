"""A run that goes on on another backend: over all ordered pairs, the losses are those of the run that stayed."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.parity.measure import Result
from tests.parity import cases
from tests.parity.conftest import BACKENDS, Measured

PAIRS = [(source, target) for source in BACKENDS for target in BACKENDS if source != target]
FIRST = cases.PROBES["funmatch"]


def pair(measured: Measured, source: str, target: str, precision: str) -> tuple[np.ndarray, np.ndarray]:
    """The losses of the run that stayed on `source`, and of the one that went on on `target`."""
    found = measured(target, f"resumed {precision}")[source]
    assert int(found["end/step"]) == FIRST + cases.RESUMED_STEPS[precision]
    stayed = measured(source, precision)["funmatch"]["loss"]
    return stayed[FIRST : FIRST + len(found["loss"])], found["loss"]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_float64_goes_on_for_20_steps(measured: Measured, source: str, target: str) -> None:
    stayed, went_on = pair(measured, source, target, "float64")
    assert len(went_on) == 20
    np.testing.assert_allclose(went_on, stayed, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_float32_goes_on_within_its_roundings(measured: Measured, source: str, target: str) -> None:
    stayed, went_on = pair(measured, source, target, "float32")
    assert len(went_on) == 20
    np.testing.assert_allclose(went_on, stayed, rtol=1e-5, atol=0)
    # One loss has an error of some units in its last place on each engine, however close the students are: these are
    # compared. They drift apart, but no farther than one whose weights were changed by 1e-7.
    own = measured(source, "resumed float32")[source]
    ended = measured(target, "resumed float32")[source]
    assert distance(ended, "end", own) <= distance(own, "control", own)


def distance(student: Result, end: str, stayed: Result) -> float:
    """Of two students after the last step: the root of the mean squared difference of a weight."""
    names = [name.removeprefix("end/") for name in stayed if name.startswith("end/student/")]
    differences = [(student[f"{end}/{name}"].astype(np.float64) - stayed[f"end/{name}"]).ravel() for name in names]
    return float(np.sqrt(np.mean(np.concatenate(differences) ** 2)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_same_backend_goes_on_to_the_last_bit(measured: Measured, backend: str, precision: str) -> None:
    stayed, went_on = pair(measured, backend, backend, precision)
    np.testing.assert_array_equal(went_on, stayed)

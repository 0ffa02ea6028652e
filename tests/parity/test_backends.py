"""All backends compute the same step, in float64 to the last digits and in float32 to its roundings."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.parity.compare import FLOAT32, FLOAT64, FLOAT64_BFLOAT16, compare
from tests.parity import cases
from tests.parity.conftest import BACKENDS, Measured

OTHERS = BACKENDS[1:]
DOUBLE, SINGLE = cases.KINDS["float64"][1], cases.KINDS["float32"][1]


def failures(measured: Measured, other: str, kind: str, case: str) -> list[str]:
    precise = FLOAT64_BFLOAT16 if case == "bfloat16" else FLOAT64
    limits = precise if kind == "float64" else FLOAT32
    found = compare(measured(BACKENDS[0], kind)[case], measured(other, kind)[case], limits)
    assert {"pixels", "loss at step 0", "gradient at step 0", "weights after 1 step"} <= {
        each.quantity for each in found
    }
    return [str(check) for check in found if not check.ok]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("case", DOUBLE)
def test_float64(measured: Measured, other: str, case: str) -> None:
    assert failures(measured, other, "float64", case) == []


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("case", SINGLE)
def test_float32(measured: Measured, other: str, case: str) -> None:
    assert failures(measured, other, "float32", case) == []


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_passes_by_being_zero(measured: Measured, backend: str, kind: str) -> None:
    for case, result in measured(backend, kind).items():
        gradients = {name: array for name, array in result.items() if name.startswith("probe0/gradient/")}
        still = [name for name, array in gradients.items() if not np.abs(array).max() > 1e-7]
        assert still == [], case
        before = {name: array for name, array in result.items() if name.startswith("state0/student/")}
        assert len(before) == len(gradients)
        for name, array in before.items():
            assert np.abs(array).max() > 0, (case, name)
            assert (result[name.replace("state0", "state1")] != array).any(), (case, name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_precision_is_what_was_asked_for(measured: Measured, backend: str) -> None:
    for kind in ("float32", "float64"):
        for result in measured(backend, kind).values():
            arrays = {name: array for name, array in result.items() if name.startswith(("probe", "state", "end"))}
            kinds = {array.dtype.name for name, array in arrays.items() if not name.endswith("/step")}
            # bfloat16 is stored as float32.
            assert kinds <= {kind, "float32"}
            assert result["probe0/loss"].dtype == result["probe0/view.student"].dtype == kind


def test_clip_acts_in_one_case_and_not_in_another(measured: Measured) -> None:
    for case, acts in (("funmatch", True), ("independent", False)):
        result = measured("torch", "float64")[case]
        squares = [(array**2).sum() for name, array in result.items() if name.startswith("probe0/gradient/")]
        limit = cases.spec_of(case).optimizer.clip_norm
        assert limit is not None
        assert (np.sqrt(sum(squares)) > limit) is np.bool_(acts)


def test_views_differ_where_they_are_independent(measured: Measured) -> None:
    result = measured("torch", "float64")["independent"]
    assert np.abs(result["probe0/view.student"] - result["probe0/view.teacher"]).max() > 0.1

"""The checks can fail: a fault in one backend is seen by parity, a fault in all of them by the reference."""

from __future__ import annotations

import pytest

from experiments.parity.compare import FLOAT64, Check, compare
from tests.parity import against_reference, cases
from tests.parity.conftest import BACKENDS, Measured

BASES = {"jax": "torch", "torch": "jax", "tensorflow": "jax"}
OF_THE_VIEWS = {"mixup_rolls_forward", "crop_shifted", "flip_missing", "value_range"}
OF_THE_UPDATE = {"adam_epsilon", "biases_decay", "decay_times_lr", "clip_missing", "bias_correction_missing"}


def failed(checks: list[Check]) -> set[str]:
    return {check.quantity for check in checks if not check.ok}


def expected(mutation: str, names: set[str], view: str, loss: str, weights: str) -> None:
    """The fault shows where it was made, and not before: an unrelated failure would prove nothing."""
    assert (view in names) is (mutation in OF_THE_VIEWS)
    assert (loss in names) is (mutation not in OF_THE_UPDATE)
    assert weights in names or mutation not in OF_THE_UPDATE


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_mutation_all_is_well(measured: Measured, backend: str) -> None:
    own, base = measured(backend, "mutations")["none"], measured(BASES[backend], "mutations")["none"]
    assert failed(compare(base, own, FLOAT64)) == set()
    assert failed(against_reference.checks("funmatch", own, evaluated=False)) == set()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mutation", cases.MUTATIONS)
def test_parity_sees_a_fault_in_one_backend(measured: Measured, backend: str, mutation: str) -> None:
    base, own = measured(BASES[backend], "mutations")["none"], measured(backend, "mutations")[mutation]
    names = failed(compare(base, own, FLOAT64))
    expected(mutation, names, "pixels", "loss at step 0", "weights after 1 step")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mutation", cases.MUTATIONS)
def test_reference_sees_a_fault_that_all_share(measured: Measured, backend: str, mutation: str) -> None:
    base, own = (measured(name, "mutations")[mutation] for name in (BASES[backend], backend))
    assert failed(compare(base, own, FLOAT64)) == set()  # parity alone is blind here
    names = failed(against_reference.checks("funmatch", own, evaluated=False))
    expected(mutation, names, "student's view 0", "loss 0", "student after step 0")

"""Every backend computes what plain numpy computes: two engines can agree on the same wrong number."""

from __future__ import annotations

import numpy as np
import pytest

from tests.parity import against_reference, cases, reference
from tests.parity.conftest import BACKENDS, Measured


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", against_reference.CASES)
def test_backend_agrees_with_numpy(measured: Measured, backend: str, case: str) -> None:
    result = measured(backend, "float64")[case]
    found = against_reference.checks(case, result)
    assert len(found) >= 15
    assert [str(check) for check in found if not check.ok] == []


def test_divergence_of_two_coins() -> None:
    logits = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    by_hand = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    np.testing.assert_allclose(reference.divergence(*logits, 1.0), [by_hand], rtol=1e-14)


def test_whole_image_is_its_own_view() -> None:
    image = cases.examples().images[0][:, :8]
    same = reference.view(image, np.array([0, 0, 8, 8]), 0.0, 8)
    np.testing.assert_allclose((same + 1) * 127.5, image, atol=1e-12)
    np.testing.assert_array_equal(reference.view(image, np.array([0, 0, 8, 8]), 1.0, 8), same[:, ::-1])


def test_complex_step_is_the_derivative() -> None:
    at = {"w": np.array([0.3, -0.2])}
    slope = reference.derivative(lambda p: (p["w"] ** 3).sum(), at, "w", np.array([1.0, 2.0]))
    assert slope == pytest.approx(3 * 0.09 + 2 * 3 * 0.04, rel=1e-14)

"""The comparison itself: what is apart is seen, NaN never passes, and a missing array is no agreement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from experiments.parity.compare import FLOAT32, FLOAT64, Result, compare, global_distance, relative, tolerances


def result() -> dict[str, np.ndarray]:
    return {
        "draws": np.array(["a", "b"]),
        "loss": np.array([2.0, 1.0]),
        "probe0/loss": np.array(2.0),
        "probe0/view.student": np.linspace(-1, 1, 12).reshape(1, 2, 2, 3),
        "probe0/gradient/w": np.array([1.0, -4.0]),
        "state1/student/w": np.array([0.5, 0.25]),
        "state1/optimizer/m/w": np.array([0.1, -0.4]),
        "end/student/w": np.array([0.4, 0.2]),
        "evaluation/student.accuracy": np.array(0.5),
        "evaluation/student.kl": np.array(0.1),
    }


def failed(other: Result) -> list[str]:
    return [check.quantity for check in compare(result(), other, FLOAT64) if not check.ok]


def test_equal_results_pass() -> None:
    assert failed(result()) == []


Change = Callable[[np.ndarray], np.ndarray]


@pytest.mark.parametrize(
    ("name", "change", "seen"),
    [
        ("draws", lambda a: np.array(["a", "c"]), "draws"),
        ("loss", lambda a: a + np.array([0, 2e-9]), "loss over 2 steps"),
        ("loss", lambda a: a[:1], "draws"),
        ("probe0/loss", lambda a: a * np.nan, "loss at step 0"),
        ("probe0/view.student", lambda a: a + 2e-5, "pixels"),
        ("probe0/gradient/w", lambda a: a + np.array([0, 1e-10]), "gradient at step 0"),
        ("probe0/gradient/w", lambda a: a[:1], "gradient at step 0"),
        ("state1/student/w", lambda a: a * [1, np.nan], "weights after 1 step"),
        ("state1/optimizer/m/w", lambda a: -a, "moments after 1 step"),
        ("end/student/w", lambda a: a + 1e-9, "weights after 2 steps"),
        ("evaluation/student.accuracy", lambda a: a + 1e-3, "student.accuracy"),
        ("evaluation/student.kl", lambda a: a * np.nan, "student.kl"),
    ],
)
def test_a_difference_is_seen(name: str, change: Change, seen: str) -> None:
    other = result()
    other[name] = change(other[name])
    assert seen in failed(other)


@pytest.mark.parametrize("name", ["probe0/view.student", "probe0/gradient/w", "end/student/w", "evaluation/student.kl"])
def test_a_missing_array_is_seen(name: str) -> None:
    other = result()
    del other[name]
    assert len(failed(other)) == 1


def test_differences_are_relative_to_the_largest_value() -> None:
    assert relative(np.array([1e-9, 2.0]), np.array([0.0, 2.0])) == 5e-10
    assert relative(np.zeros(2), np.zeros(2)) == 0
    assert relative(np.zeros(2), np.array([0, 1e-30])) == 1


def test_float32_gradients_are_held_in_global_norm() -> None:
    base = {"g/a": np.array([3.0]), "g/b": np.array([4.0])}
    assert global_distance(base, {**base, "g/a": np.array([3.5])}, "g/") == pytest.approx(0.1)


def test_precision_chooses_tolerances() -> None:
    assert tolerances("float32", "bfloat16") is FLOAT32
    assert tolerances("float64", "float32") is FLOAT64
    assert tolerances("float64", "bfloat16").end > FLOAT64.end

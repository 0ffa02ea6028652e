"""Views of several backends held against each other: equal in float64, near in float32, and said where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.sheets.compare import compared, table

NAMES = ("jax", "torch")


def result(pixels: np.ndarray, digests: list[str], draws: str = "d") -> dict[str, np.ndarray]:
    return {"0/draws": np.array(draws), "0/0/digests": np.array(digests), "0/0/pixels": pixels}


@pytest.fixture
def results() -> dict[tuple[str, str], Any]:
    pixels = np.zeros((2, 4, 4, 3), np.float32)
    return {(name, precision): result(pixels, ["a", "b"]) for name in NAMES for precision in ("float64", "float32")}


def test_equal_views_are_equal(results: Any) -> None:
    found = compared(results, NAMES)
    assert [(each.who, each.precision, each.cell) for each in found] == [
        ("draws", "float64", "equal"),
        ("student", "float64", "equal"),
        ("draws", "float32", "equal"),
        ("student", "float32", "equal"),
    ]
    assert all(each.ok for each in found)
    assert table(found, results, NAMES).splitlines()[2].split() == ["step", "0,", "draws", "d...", "equal"]


@pytest.mark.parametrize(
    ("precision", "apart", "cell"),
    [
        ("float64", 1e-7, "1 of 2 differ, by 1e-07 FAILS"),
        ("float32", 1e-7, "1 of 2 differ, by 1e-07"),
        ("float32", 1e-4, "1 of 2 differ, by 0.0001 FAILS"),
    ],
)
def test_other_views_are_told(results: Any, precision: str, apart: float, cell: str) -> None:
    pixels = np.zeros((2, 4, 4, 3), np.float32)
    pixels[1, 2, 2, 0] = apart
    results["torch", precision] = result(pixels, ["a", "c"])
    found = {(each.who, each.precision): each for each in compared(results, NAMES)}
    assert found["student", precision].cell == cell
    assert found["student", precision].ok == ("FAILS" not in cell)
    assert found["draws", precision].ok


def test_other_draws_never_pass(results: Any) -> None:
    results["torch", "float32"]["0/draws"] = np.array("e")
    assert [each.cell for each in compared(results, NAMES) if not each.ok] == ["1 of 1 differ FAILS"]

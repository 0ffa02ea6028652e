"""Split expressions select what they say, and nothing is shortened or emptied in silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.data.splits import select
from framework.data.stratify import stratified_order
from framework.errors import UserError

LABELS = np.repeat(np.arange(4), [40, 30, 20, 10])
LENGTHS = {"train": 100, "test": 12, "odd": 5, "none": 0}


def rows(expression: str) -> list[int]:
    return [int(row) for part in select(expression, LENGTHS, lambda split: LABELS, "set") for row in part.rows]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", range(100)),
        ("train[:90%]", range(90)),
        ("train[90%:]", range(90, 100)),
        ("train[10:20]", range(10, 20)),
        ("train[-5:]", range(95, 100)),
        ("train[:-95]", range(5)),
        ("train[-10%:]", range(90, 100)),
        ("train[:100]", range(100)),
        ("test + train[:2]", [*range(12), 0, 1]),
    ],
)
def test_slices(expression: str, expected: range) -> None:
    assert rows(expression) == list(expected)


def test_percentages_round_half_to_even() -> None:
    assert len(rows("test[:50%]")) == 6
    assert len(rows("test[:30%]")) == 4  # 3.6
    assert (len(rows("odd[:30%]")), len(rows("odd[:50%]"))) == (2, 2)  # 1.5 and 2.5, as `datasets` rounds
    assert rows("test[:30%]") + rows("test[30%:]") == list(range(12))  # 3.6 on both sides


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("train[:5000]", r"asks for 5000 of 100 rows"),
        ("train[-101:]", r"asks for -101"),
        ("train[:101%]", r"asks for 101%"),
        ("train[5:5]", r"is empty: rows 5 to 5 of 100"),
        ("train[9:3]", r"is empty"),
        ("test[:1%]", r"is empty: rows 0 to 0 of 12"),
        ("none", r"'none' is empty"),
        ("train[5]", r"can't be read"),
        ("train[::2]", r"can't be read"),
        ("shuffled(train)", r"can't be read"),
        ("stratified train", r"can't be read"),
        ("stratified(train", r"can't be read"),
        ("train)", r"can't be read"),
        ("(train)", r"can't be read"),
        ("train+", r"can't be read"),
        ("", r"can't be read"),
    ],
)
def test_mistakes(expression: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows(expression)


def test_a_split_may_be_called_stratified() -> None:
    assert len(select("stratified", {"stratified": 3}, lambda split: LABELS, "set")[0].rows) == 3


def test_stratified_halves_are_disjoint_and_complete() -> None:
    first, second = rows("stratified(train)[:90%]"), rows("stratified(train)[90%:]")
    assert sorted(first + second) == list(range(100))
    assert np.bincount(LABELS[second]).tolist() == [4, 3, 2, 1]


@given(st.lists(st.integers(-3, 5), min_size=1, max_size=80), st.data())
def test_every_prefix_has_the_overall_proportions(labels: list[int], data: st.DataObject) -> None:
    values = np.array(labels)
    order = stratified_order(values)
    assert sorted(order) == list(range(len(values)))
    stop = data.draw(st.integers(0, len(values)))
    for label in set(labels):
        share = (values == label).mean() * stop
        # One off by rounding, and one more since classes are interleaved by their own places.
        assert abs((values[order[:stop]] == label).sum() - share) <= 1 + len(set(labels)) / 2


def test_the_order_shuffles_within_a_class_and_is_fixed() -> None:
    order = stratified_order(np.zeros(20, int))
    assert order.tolist() != list(range(20))
    assert order.tolist() == [int(row) for row in stratified_order(np.full(20, 7))]

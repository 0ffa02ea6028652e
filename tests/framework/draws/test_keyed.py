"""Keyed random numbers: pure, broadcast, and as uniform as random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from framework.draws import keyed

WORD = st.integers(-(2**63), 2**63 - 1)


def plain_bits(*key: int) -> int:
    """SplitMix64's step for each word, in whole numbers of any size."""
    state, mask = 0, 2**64 - 1
    for word in key:
        state = ((state ^ (word & mask)) + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state


def test_the_first_numbers_of_splitmix64() -> None:
    """The published generator with seed 0 begins so; ours with the key (0,) takes its first step."""
    assert int(keyed.bits(0)) == 0xE220A8397B1DCDAF


@given(st.lists(WORD, min_size=1, max_size=5))
def test_bits_equal_the_definition(key: list[int]) -> None:
    assert int(keyed.bits(*key)) == plain_bits(*key)


@given(WORD, st.lists(WORD, min_size=1, max_size=4), st.lists(WORD, min_size=1, max_size=3))
def test_arrays_in_a_key_broadcast(seed: int, rows: list[int], columns: list[int]) -> None:
    many = keyed.bits(seed, np.array(rows)[:, None], 7, np.array(columns))
    assert many.dtype == np.uint64
    assert many.tolist() == [[plain_bits(seed, row, 7, column) for column in columns] for row in rows]


def test_the_key_s_words_have_places() -> None:
    values = {int(keyed.bits(*key)) for key in [(1, 2), (2, 1), (1,), (2,), (0, 1, 2), (1, 2, 0), (3,), ()[:0] or (0,)]}
    assert len(values) == 8


@pytest.mark.parametrize("place", range(3))
def test_neighbouring_keys_give_uniform_numbers(place: int) -> None:
    key: list[int | np.ndarray] = [0, 0, 0]
    key[place] = np.arange(100_000)
    values = keyed.uniform(*key)
    assert values.dtype == np.float64
    assert 0 <= values.min() < values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01
    assert np.all(values * 2**53 == np.floor(values * 2**53))

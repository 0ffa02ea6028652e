"""The order of examples: a permutation of each epoch, computed from the step alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from framework.draws.order import ExampleOrder, permute
from framework.errors import UserError

SEED = st.integers(0, 2**63 - 1)


def in_order(order: ExampleOrder, steps: int) -> tuple[np.ndarray, np.ndarray]:
    batches = [order.batch(step) for step in range(steps)]
    return np.concatenate([ids for ids, _ in batches]), np.concatenate([epochs for _, epochs in batches])


@pytest.mark.parametrize("num_examples", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 257, 1000, 4096, 4097, 20_000])
def test_an_epoch_is_a_permutation(num_examples: int) -> None:
    ranks = np.arange(num_examples)
    for epoch in (0, 1, 10**9):
        ids = permute(ranks, num_examples, 3, np.full(num_examples, epoch))
        assert ids.dtype == np.int64
        np.testing.assert_array_equal(np.sort(ids), ranks)


@given(st.integers(1, 60), st.integers(1, 200), SEED)
def test_batches_run_through_the_epochs(num_examples: int, batch_size: int, seed: int) -> None:
    order = ExampleOrder(num_examples, batch_size, seed)
    steps = -(-3 * num_examples // batch_size)
    ids, epochs = in_order(order, steps)
    assert (np.diff(epochs) >= 0).all()
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(ids[epochs == epoch][:num_examples]), np.arange(num_examples))
        assert (epochs == epoch).sum() == num_examples or epoch == epochs[-1]


def test_batches_straddle_epochs() -> None:
    ids, epochs = ExampleOrder(5, 4, 0).batch(1)
    np.testing.assert_array_equal(epochs, [0, 1, 1, 1])
    assert len(set(ids[1:])) == 3


@given(st.integers(1, 10**7), st.integers(1, 64), SEED, st.integers(0, 2**30))
def test_a_batch_is_full_and_its_epochs_are_those_of_its_places(n: int, batch_size: int, seed: int, step: int) -> None:
    order = ExampleOrder(n, batch_size, seed)
    ids, epochs = order.batch(step)
    assert ids.shape == epochs.shape == (batch_size,)
    assert ids.min() >= 0
    assert ids.max() < n
    np.testing.assert_array_equal(epochs, (step * batch_size + np.arange(batch_size)) // n)


@pytest.mark.parametrize("num_examples", [50, 1000])
def test_epochs_and_seeds_have_orders_of_their_own(num_examples: int) -> None:
    ranks = np.arange(num_examples)
    orders = {
        tuple(permute(ranks, num_examples, seed, np.full(num_examples, epoch)))
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) == 25
    fixed = [sum(a == b for a, b in zip(one, other, strict=True)) for one in orders for other in orders if one != other]
    assert np.mean(fixed) == pytest.approx(1, abs=0.2)  # two random permutations agree in one place on average


@pytest.mark.parametrize(("num_examples", "epochs"), [(2, 4000), (5, 4000), (10, 4000), (33, 8000), (100, 10_000)])
def test_each_place_of_an_epoch_is_uniform(num_examples: int, epochs: int) -> None:
    """Chi-square over (place, example): a permutation leaves (N - 1)^2 degrees of freedom."""
    ranks, numbers = (each.ravel() for each in np.meshgrid(np.arange(num_examples), np.arange(epochs)))
    ids = permute(ranks, num_examples, 11, numbers)
    counts = np.zeros((num_examples, num_examples))
    np.add.at(counts, (ranks, ids), 1)
    statistic = (np.square(counts - epochs / num_examples) / (epochs / num_examples)).sum()
    # Var over permutations is that of a chi-square with these degrees of freedom times N / (N - 1).
    free = (num_examples - 1) ** 2
    assert stats.chi2.sf(statistic * (num_examples - 1) / num_examples, free) > 1e-3
    # Nor is it more even than chance, which two examples may be by chance.
    assert num_examples == 2 or stats.chi2.cdf(statistic * (num_examples - 1) / num_examples, free) > 1e-3


def test_neighbours_are_unrelated() -> None:
    """The example that follows in the order is any of the others: mixing pairs are drawn from all pairs."""
    epochs = 20_000
    first, second = (permute(np.full(epochs, rank), 10, 5, np.arange(epochs)) for rank in (3, 4))
    counts = np.bincount((second - first) % 10, minlength=10)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3
    pairs = np.bincount(first * 10 + second, minlength=100).reshape(10, 10)
    assert stats.chisquare(pairs[~np.eye(10, dtype=bool)]).pvalue > 1e-3


def test_a_plan_needs_an_example() -> None:
    with pytest.raises(UserError, match="empty"):
        ExampleOrder(0, 8, 0)

"""Which examples a step sees: a pure function of (step, seed), so that resuming needs the step number alone.

Position p = step * batch_size + j is example `permutation(r; seed, epoch)` where `epoch, r = divmod(p, num_examples)`.
The permutation is a keyed Feistel network on a grid of about sqrt(N) x sqrt(N) with cycle walking (Black and Rogaway
2002), so any batch of any step is computed without going through the ones before it. Batches straddle epochs, as the
authors' do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from framework.draws import keyed
from framework.errors import UserError

_ROUNDS = 10


@dataclass(frozen=True)
class ExampleOrder:
    """The order of examples.

    Attributes:
        num_examples: N, size of the training split.
        batch_size: B, examples in a step over all processes.
        seed: the spec's seed.
    """

    num_examples: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_examples < 1:
            raise UserError("the training split is empty: an order needs at least one example")

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The examples of one step.

        Args:
            step: number of updates done before, from 0.

        Returns:
            ids: int64 [B], in [0, N).
            epochs: int64 [B], the epoch each example is drawn in.
        """
        places = np.arange(self.batch_size, dtype=np.int64)
        epochs, ranks = np.divmod(step * self.batch_size + places, self.num_examples)
        return permute(ranks, self.num_examples, self.seed, epochs), epochs


def permute(ranks: np.ndarray, num_examples: int, seed: int, epochs: np.ndarray) -> np.ndarray:
    """Map ranks to examples, one-to-one within each epoch.

    Args:
        ranks: int64 [B] in [0, N).
        num_examples: N.
        seed: key of the permutation.
        epochs: int64 [B], key of the permutation.

    Returns:
        int64 [B] in [0, N).
    """
    rows = max(1, math.isqrt(num_examples - 1) + 1)
    columns = -(-num_examples // rows)
    # There are few epochs in a batch: each has its keys made once.
    different, places = np.unique(epochs, return_inverse=True)
    keys = [row[places] for row in keyed.bits(seed, different, np.arange(_ROUNDS)[:, None])]
    values = _shuffle(ranks, rows, columns, keys)
    while (outside := values >= num_examples).any():
        values[outside] = _shuffle(values[outside], rows, columns, [key[outside] for key in keys])
    return values


def _shuffle(values: np.ndarray, rows: int, columns: int, keys: list[np.ndarray]) -> np.ndarray:
    """Permute [0, rows * columns): in turn, one of the two coordinates is shifted by a function of the other."""
    row, column = np.divmod(values, columns)
    for number, key in enumerate(keys):
        if number % 2:
            row = (row + _below(rows, key, column)) % rows
        else:
            column = (column + _below(columns, key, row)) % columns
    return row * columns + column


def _below(bound: int, *key: np.ndarray) -> np.ndarray:
    return (keyed.bits(*key) % np.uint64(bound)).astype(np.int64)

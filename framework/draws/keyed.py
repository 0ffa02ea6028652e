"""Random numbers as pure functions of their key: SplitMix64, vectorised in numpy.

A key is a tuple of integers or integer arrays, `(seed, epoch, example, stream)`; each word is folded into the state by
one SplitMix64 step (Steele, Lea and Flood 2014), so that neighbouring keys give unrelated numbers. There is no state.
"""

from __future__ import annotations

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _finalise(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def bits(*key: int | np.ndarray) -> np.ndarray:
    """64 random bits for each key.

    Args:
        key: integers or integer arrays that broadcast against each other, each taken modulo 2**64.

    Returns:
        uint64 array of the broadcast shape.
    """
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for word in key:
            state = _finalise((state ^ np.asarray(word).astype(np.uint64)) + _GAMMA)
    return state if any(np.ndim(word) for word in key) else state[0]


def uniform(*key: int | np.ndarray) -> np.ndarray:
    """float64 uniform numbers in [0, 1) for each key, multiples of 2**-53."""
    return (bits(*key) >> np.uint64(11)) * 2.0**-53

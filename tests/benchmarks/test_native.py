"""The hand-written steps compute what our trainers compute: from the same weights, the same losses."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from experiments.bench.sizes import SIZES, quick
from experiments.bench.variants import Bench, native_inputs, native_step

# The first loss differs by roundings; two updates make a little more of them.
FIRST, LATER = 1e-5, 1e-3


@pytest.mark.backend
@pytest.mark.parametrize("size", ["digits", "bit128"])
def test_by_hand_is_the_same_step(backend: str, size: str) -> None:
    engine = backends.load(backend)
    bench = Bench(quick(SIZES[size]), engine, engine.configure("cpu", 1, "float32"))
    trainer, by_hand, loader = bench.trainer(), native_step(bench), bench.loader()
    for step in range(3):
        batch = loader.batch(step)
        ours, theirs = float(trainer.step(batch)["loss"]), float(by_hand(native_inputs(batch)))
        assert ours > 0.1
        np.testing.assert_allclose(theirs, ours, rtol=LATER if step else FIRST)

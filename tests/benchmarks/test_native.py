"""The hand-written steps compute what our trainers compute: from the same weights, the same losses."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends.base import Settings
from experiments.bench.sizes import chosen
from experiments.bench.variants import Bench, native_inputs, native_step

# The first loss differs by roundings; two updates make a little more of them.
FIRST, LATER, HALF = 1e-5, 1e-3, 0.03


@pytest.mark.backend
@pytest.mark.parametrize(
    ("size", "precision"), [("digits", "float32"), ("bit128", "float32"), ("bit128", "mixed_bfloat16")]
)
def test_by_hand_is_the_same_step(backend: str, size: str, precision: str) -> None:
    engine = backends.load(backend)
    device = engine.configure(Settings("cpu", 1, precision))
    bench = Bench(chosen({"size": size, "quick": True, "precision": precision}), engine, device)
    trainer, by_hand, loader = bench.trainer(), native_step(bench), bench.loader()
    for step in range(3):
        batch = loader.batch(step)
        ours, theirs = float(trainer.step(batch)["loss"]), float(by_hand(native_inputs(batch)))
        assert ours > 0.1
        tolerance = HALF if precision == "mixed_bfloat16" else LATER if step else FIRST
        np.testing.assert_allclose(theirs, ours, rtol=tolerance)

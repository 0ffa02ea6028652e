"""Teachers in reduced precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.config import recipe_spec
from experiments.distillation.options import RunOptions
from experiments.distillation.prepare import prepare
from framework.errors import UserError
from framework.spec import DistillSpec

pytestmark = pytest.mark.backend


def spec(precision: str | None, **changes: Any) -> DistillSpec:
    base = recipe_spec("glyphs").to_dict()
    base["teachers"][0]["precision"] = precision
    small = {"data": base["data"] | {"validation": "validation[:64]", "test": None}, "batch_size": 8}
    return DistillSpec.from_dict(base | small | changes)


def test_a_teacher_in_bfloat16_agrees_with_itself(backend: str, tmp_path: Path) -> None:
    said: list[str] = []
    ready = prepare(spec("bfloat16"), RunOptions(backend=backend), root=tmp_path, tell=said.append)
    [found] = ready.environment["teachers"]
    assert 0.9 < found["agreement"]["agreement@1"] <= 1
    # Rounding is seen, and is small.
    assert 1e-7 < found["agreement"]["kl"] < 1e-2
    assert any("in bfloat16, against itself in float32: agreement@1 " in line for line in said)
    plain = prepare(spec(None), RunOptions(backend=backend), root=tmp_path)
    assert "agreement" not in plain.environment["teachers"][0]
    batch = ready.loader.batch(0)
    [rounded], [exact] = ready.trainer.teach(batch), plain.trainer.teach(batch)
    largest = np.abs(exact).max()
    assert 1e-4 * largest < np.abs(np.float32(rounded) - exact).max() < 0.1 * largest
    assert np.isfinite(float(ready.trainer.step(batch)["loss"]))


def test_a_model_that_is_handed_over_has_its_own(backend: str, tmp_path: Path) -> None:
    import keras

    view = keras.Input((24, 24, 3))
    model = keras.Model(view, keras.layers.Dense(33)(keras.layers.Flatten()(view)))
    with pytest.raises(UserError, match=r"teacher\.precision: a model that is handed over computes as it was built"):
        prepare(spec("bfloat16"), RunOptions(backend=backend), teacher=model, root=tmp_path)

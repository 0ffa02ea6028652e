"""Our models as plain operations, and in Keras's own layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from framework.errors import UserError
from framework.models.catalog import MODELS
from framework.models.initial import parameters
from framework.models.plain import plain
from framework.models.stock import stock
from tests.framework.models.shaped import SHAPES, random_model


def test_every_model_is_tried() -> None:
    assert {name for name, _, _ in SHAPES} == set(MODELS)


@pytest.mark.parametrize(("name", "options", "size"), SHAPES)
def test_stock_layers_give_the_same_logits(name: str, options: dict[str, Any], size: int) -> None:
    model = random_model(name, options, size)
    steps = plain(model, size)
    assert len({step.name for step in steps}) == len(steps)
    # Each parameter is in one of them.
    numbers = [a.size for step in steps for a in vars(step.does).values() if isinstance(a, np.ndarray)]
    assert sum(numbers) == sum(np.prod(variable.shape) for variable in parameters(model).values())
    made = stock(steps, size, name)
    assert {type(layer).__module__.partition(".")[0] for layer in made.layers} == {"keras"}
    views = np.random.default_rng(1).uniform(-1, 1, (3, size, size, 3)).astype(np.float32)
    np.testing.assert_allclose(made.predict_on_batch(views), model.predict_on_batch(views), atol=2e-5)


def test_a_file_of_stock_layers_keeps_them(tmp_path: Path) -> None:
    model = random_model(*SHAPES[0])
    made = stock(plain(model, 12), 12, "convnet")
    made.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    views = np.random.default_rng(1).uniform(-1, 1, (2, 12, 12, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict_on_batch(views), made.predict_on_batch(views))


def test_somebody_elses_model_is_refused() -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(UserError, match=r"layer keras.*Sequential can't be rewritten: only the project's own can"):
        plain(model, 8)

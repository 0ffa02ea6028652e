"""A teacher is stored as what it computes with, and gives what it gave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from backends.base import Settings
from framework.errors import UserError
from framework.models import catalog
from framework.models.layers import StdConv2D
from tests.backends.tiny import CLASSES, SIZE, Tiny

OWN = {
    "bit": {"depth": [1, 1], "width": 0.5, "head_zero_init": False},
    "convnet": {"widths": [8, 16], "standardised": True},
    "mobilenet_v3": {},
}


@pytest.fixture(autouse=True)
def restored(engine: Any) -> Iterator[None]:
    yield
    engine.configure(Settings("cpu"))


def teacher(name: str, options: dict[str, Any]) -> Any:
    if name != "keras":
        return catalog.build(name, options, CLASSES, SIZE, 5)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 3, padding="same")(inputs))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.DepthwiseConv2D(3)(keras.layers.ReLU()(x)))
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("name", [*OWN, "keras"])
def test_it_gives_what_it_gave(name: str, precision: Any, engine: Any, monkeypatch: Any) -> None:
    tiny = Tiny(engine, engine.configure(Settings("cpu", precision=precision)))
    spec = tiny.spec(precision=precision)
    batch, student = tiny.batch(spec, 0), spec.student

    def trainer(model: Any) -> Any:
        return engine.compile(spec, tiny.model(student), [model], total_steps=10, device=tiny.device)

    frozen = teacher(name, OWN.get(name, {}))
    with monkeypatch.context() as patch:
        patch.setattr("backends.hooks.freeze", lambda *_: None)
        (expected,) = trainer(teacher(name, OWN.get(name, {}))).teach(batch)
    one, other = trainer(frozen), trainer(frozen)
    # XLA adds up in another order where it makes the kernels within the step.
    rounding = {"float32": 1e-4, "mixed_bfloat16": 0.02, "bfloat16": 0.02}[precision]
    for each in (one, other):
        (found,) = each.teach(batch)
        found, least = found.astype(np.float64), rounding * np.abs(expected.astype(np.float64)).max()
        np.testing.assert_allclose(found, expected.astype(np.float64), rtol=0, atol=least)
    arithmetic = "float32" if precision == "float32" else "bfloat16"
    for layer in frozen._flatten_layers():
        statistics = isinstance(layer, keras.layers.BatchNormalization) or type(layer).__name__ == "BatchNorm"
        for variable in () if statistics else layer._trainable_variables:
            assert keras.backend.standardize_dtype(variable.value.dtype) == variable.dtype == arithmetic, variable.path


def test_its_kernels_are_kept_once(engine: Any, tiny: Tiny) -> None:
    model = teacher("bit", OWN["bit"])
    trainer = engine.compile(tiny.spec(), tiny.model(tiny.spec().student), [model], total_steps=10, device=tiny.device)
    trainer.teach(tiny.batch(tiny.spec(), 0))
    convolutions = [layer for layer in model._flatten_layers() if isinstance(layer, StdConv2D)]
    assert len(convolutions) == 9
    for layer in convolutions:
        kernel = ops.convert_to_numpy(layer.kernel.value).astype(np.float64)
        assert np.abs(kernel.mean((0, 1, 2))).max() < 1e-6
        np.testing.assert_allclose(kernel.var((0, 1, 2)), 1.0, rtol=1e-5)


def test_it_can_be_trained_no_more(engine: Any, tiny: Tiny) -> None:
    model, spec = teacher("bit", OWN["bit"]), tiny.spec()
    engine.compile(spec, tiny.model(spec.student), [model], total_steps=10, device=tiny.device).teach(
        tiny.batch(spec, 0)
    )
    with pytest.raises(UserError, match="the student was a teacher here"):
        engine.compile(spec, model, [tiny.model(spec.student)], total_steps=10, device=tiny.device)

"""Models called outside of a training are compiled as a whole."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np
import pytest
from keras import layers

from backends.jax import calls
from framework.models.calls import called, plainly

SIZE = 8


@pytest.fixture
def programs(engine: Any, monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """What has been compiled since."""
    monkeypatch.setattr(calls, "_programs", {})
    return calls._programs


def views(number: int = 0) -> jax.Array:
    return jax.numpy.asarray(np.random.default_rng(number).uniform(-1, 1, (4, SIZE, SIZE, 3)), "float32")


def net(*tail: Any) -> keras.Model:
    image = keras.Input((SIZE, SIZE, 3))
    outputs = layers.Dense(5)(layers.Flatten()(image))
    for layer in tail:
        outputs = layer(outputs)
    return keras.Model(image, outputs)


def test_a_model_without_state_is_one_program(programs: dict[Any, Any]) -> None:
    model = net()
    batches = [views(), views(1)]
    for training in (False, True):
        for one, other in zip(called(model, batches, training), plainly(model, batches, training), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    assert len(programs) == 1


def test_what_a_call_changes_is_the_models(programs: dict[Any, Any]) -> None:
    """Statistics, and the seeds of what is drawn."""
    kinds = (lambda: layers.BatchNormalization(momentum=0.5), lambda: layers.Dropout(0.5, seed=3))
    for kind in kinds:
        one, other = net(kind()), net(kind())
        other.set_weights(one.get_weights())
        for model, call in ((one, called), (other, plainly)):
            call(model, [views(), views(1)], True)
        for mine, theirs in zip(one.variables, other.variables, strict=True):
            np.testing.assert_allclose(mine.value, theirs.value, rtol=1e-6, atol=1e-7)
        assert any((np.asarray(each.value) != 0).all() for each in one.non_trainable_variables)
        called(one, [views()])
    assert len(programs) == 4


def test_what_python_keeps_shows(programs: dict[Any, Any]) -> None:
    class Kept(keras.Model):
        times = 0

        def call(self, x: Any) -> Any:
            object.__setattr__(self, "times", self.times + 1)
            return x[:, 0, 0] * self.times

    model = Kept()
    first, second = called(model, [views(), views()])
    np.testing.assert_array_equal(first, second)
    [third] = called(model, [views()])
    np.testing.assert_allclose(third, 2 * first, rtol=1e-6)


def test_few_programs_are_kept(programs: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_KEPT", 2)
    for units in (1, 2, 3, 3):
        called(net(layers.Dense(units)), [views()])
    assert len(programs) == 2

"""The engine under test and what its trainers are tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
from backends.base import Backend, Settings
from framework.spec import DistillSpec
from tests.backends.tiny import Tiny

# A student of somebody else's: BatchNorm's statistics and Dropout's seed are state that is no parameter.
FOREIGN = """
import keras


def build(num_classes, image_size, rate=0.3, seed=7):
    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = keras.layers.Activation("relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(rate, seed=seed)(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))
"""


@pytest.fixture(scope="session")
def engine(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    if backend == "jax":
        # Many trainers here are alike: what one of them compiled is kept for the next.
        import jax

        jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return backends.load(backend)


@pytest.fixture
def tiny(engine: Backend) -> Tiny:
    return Tiny(engine, engine.configure(Settings("cpu")))


@pytest.fixture
def plain_and_again(tiny: Tiny) -> tuple[DistillSpec, Any, Any]:
    """A spec, its trainer, and one that computes the blocks' activations again: both have made the same two steps."""
    from framework.models.catalog import rematerialised

    spec = tiny.spec(student={"name": "convnet", "options": {"widths": [4, 4], "convs_per_stage": 2}})
    plain = tiny.trainer(spec)
    with rematerialised("convnet"):
        again = tiny.trainer(spec)
    assert tiny.run(again, spec, 2) == tiny.run(plain, spec, 2)
    return spec, plain, again


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A `student=` that speaks of the user's own module."""
    (tmp_path / "own_student.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return {"name": "own_student:build", "options": {}}


@pytest.fixture
def value_of() -> Callable[[Any], np.ndarray]:
    """A Keras variable's value, copied."""

    def copied(variable: Any) -> np.ndarray:
        from keras import ops

        return np.array(ops.convert_to_numpy(variable))

    return copied

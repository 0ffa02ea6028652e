"""MobileNetV3 against Keras's own with the same weights, published sizes, the norms' rules, and mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from framework.errors import UserError
from framework.models import initial
from framework.models.inverted_residual import groups_for, rounded
from framework.models.mobilenet_v3 import SMALL, VARIANTS, mobilenet_v3

Array = np.ndarray
KERAS = {"large": keras.applications.MobileNetV3Large, "small": keras.applications.MobileNetV3Small}
ROLES = {"scale": "gamma", "bias": "beta"}


def keras_name(name: str) -> str:
    """The name in Keras's own model of one of our parameters."""
    layer, _, role = name.replace("squeeze_excite/reduce", "squeeze_excite/conv").rpartition("/")
    layer = layer.replace("squeeze_excite/expand", "squeeze_excite/conv_1").replace("head", "logits")
    role = ROLES.get(role, role) if layer.endswith("_norm") else role
    return f"{layer.replace('/', '_').replace('_norm', '_bn')}/{role}"


def as_ours(name: str, array: Array) -> Array:
    """Keras's array in our shape: a depthwise kernel is [h, w, C, 1] there, a dense one a convolution's."""
    if name.endswith("depthwise/kernel"):
        return array.transpose(0, 1, 3, 2)
    if re.fullmatch(r"(.*squeeze_excite/.*|conv_2|head)/kernel", name):
        return array[0, 0]
    return array.reshape(1, 1, 1, -1) if "_norm/" in name else array


@pytest.fixture(autouse=True)
def _quick_initialisers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros of numpy's in Keras's own models, whose initialisers JAX would compile for each shape."""
    for kind in (keras.initializers.VarianceScaling, keras.initializers.Zeros, keras.initializers.Ones):
        monkeypatch.setattr(kind, "__call__", lambda self, shape, dtype=None, **_: np.zeros(shape, dtype))


def random_values(model: keras.Model) -> None:
    """Values none of which is trivial, of a size that signals survive."""
    generator = np.random.default_rng(0)
    for variable in model.variables:
        values = generator.standard_normal(tuple(variable.shape)) / np.sqrt(np.prod(variable.shape[:-1]) or 1)
        positive = variable.path.endswith(("gamma", "moving_variance"))
        variable.assign((0.5 + np.abs(values) if positive else values).astype("float32"))


def pair(variant: str, width: float, size: int) -> tuple[keras.Model, keras.Model]:
    """Our model and Keras's with the same weights."""
    options = {"classes": 5, "weights": None, "classifier_activation": None, "include_preprocessing": False}
    theirs = KERAS[variant](input_shape=(size, size, 3), alpha=width, dropout_rate=0.0, **options)
    random_values(theirs)
    ours = mobilenet_v3(5, size, variant, width, norm="batch")
    given = {variable.path: np.array(keras.ops.convert_to_numpy(variable)) for variable in theirs.variables}
    arrays = {name: as_ours(name, given.pop(keras_name(name))) for name in initial.parameters(ours)}
    assert given == {}
    initial.assign(ours, arrays)
    return ours, theirs


def image(size: int) -> Array:
    return np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype("float32")


def assert_close(actual: Array, expected: Array) -> None:
    # Two orders of float32 sums through some fifty layers.
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
    assert expected.std() > 1e-3


@pytest.mark.parametrize(("variant", "width", "size"), [("small", 1.0, 45), ("large", 0.75, 64)])
def test_logits_are_those_of_keras(variant: str, width: float, size: int, compiled: Any) -> None:
    ours, theirs = pair(variant, width, size)
    found = compiled(ours, lambda x: {"ours": ours(x), "theirs": theirs(x)}, image(size))
    assert_close(found["ours"], found["theirs"])


@pytest.mark.parametrize(
    ("variant", "width", "trainable", "statistics"),
    [("large", 1.0, 5_483_032, 24_400), ("small", 1.0, 2_542_856, 12_112)],
)
def test_sizes_are_the_published(variant: str, width: float, trainable: int, statistics: int) -> None:
    for norm, others in (("group", 0), ("batch", statistics)):
        model = mobilenet_v3(1000, 64, variant, width, norm)
        counts = [sum(int(np.prod(v.shape)) for v in model.trainable_variables), model.count_params()]
        assert counts == [trainable, trainable + others]


@pytest.mark.parametrize(("variant", "width"), [("large", 0.35), ("small", 1.3)])
def test_every_width_has_the_channels_of_keras(variant: str, width: float) -> None:
    pair(variant, width, 32)


def test_channels_and_groups_are_whole() -> None:
    assert [rounded(channels) for channels in (1, 16, 18.2, 19, 20, 184)] == [8, 16, 24, 24, 24, 184]
    assert [groups_for(channels, 8) for channels in (8, 12, 20, 24, 7)] == [8, 4, 4, 8, 1]
    model = mobilenet_v3(3, 32, "small", 0.5, groups=16)
    norms = [layer for layer in model._flatten_layers() if type(layer).__name__ == "GroupNorm"]
    assert {(layer.scale.shape[-1], layer.groups) for layer in norms} >= {(16, 16), (24, 8), (56, 8)}
    assert all(layer.scale.shape[-1] % layer.groups == 0 for layer in norms)


def test_eight_groups_are_normalised(compiled: Any) -> None:
    model = mobilenet_v3(3, 32, "small", 0.5)
    initial.initialise(model, 0)
    block, x = model.blocks[1], np.random.default_rng(2).standard_normal((2, 4, 4, 8)).astype("float32") * 5 + 3
    hidden = block.expand.filters
    found = compiled(model, lambda view: block.expand_norm(block.expand(view)), x)
    grouped = found.reshape(2, 16, 8, hidden // 8)
    np.testing.assert_allclose(grouped.mean((1, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(grouped.std((1, 3)), 1, atol=1e-3)


def test_initial_weights_and_a_head_that_starts_at_zero() -> None:
    for zero in (True, False):
        model = mobilenet_v3(3, 32, "small", 0.5, "batch", head_zero_init=zero)
        initial.initialise(model, 0)
        values = {name: keras.ops.convert_to_numpy(v) for name, v in initial.parameters(model).items()}
        still = [name for name, value in values.items() if name.endswith("/kernel") and not value.any()]
        assert still == (["head/kernel"] if zero else [])
        assert {value.min() for name, value in values.items() if name.endswith("moving_variance")} == {1.0}


def test_a_saved_model_comes_back(tmp_path: Path, compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "small", (SMALL[:4], 16))
    model = mobilenet_v3(3, 32, "small", 0.35, groups=4, head_zero_init=False)
    initial.initialise(model, 1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert list(initial.parameters(again)) == list(initial.parameters(model))
    views = image(32)
    np.testing.assert_array_equal(compiled(again, again, views), compiled(model, model, views))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "medium"}, "variant='medium'; allowed: large, small"),
        ({"norm": "layer"}, "norm='layer'; allowed: group, batch"),
        ({"width": 0}, "width=0 must be more than 0"),
        ({"groups": 0}, "groups=0 must be at least 1"),
    ],
)
def test_mistakes_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mobilenet_v3(3, 32, **options)

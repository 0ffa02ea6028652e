"""Models by name, import path and file; and what is said when there is no such thing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from framework.errors import UserError
from framework.models import catalog, initial

Array = np.ndarray


def flat(num_classes: int, image_size: int, units: int = 4, activation: str | None = None) -> keras.Model:
    image = keras.Input((image_size, image_size, 3))
    hidden = keras.layers.Dense(units)(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Dense(num_classes, activation=activation)(hidden))


class Lazy(keras.Model):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.flatten, self.head = keras.layers.Flatten(), keras.layers.Dense(num_classes)

    def call(self, x: Any) -> Any:
        return self.head(self.flatten(x))


class Hidden(Lazy):
    def call(self, x: Any) -> Any:
        return keras.ops.softmax(super().call(x))


class Numbered(Lazy):
    def call(self, x: Any) -> Any:
        return super().call(keras.ops.reshape(x, (4, *x.shape[1:])))


def with_softmax(model: keras.Model) -> keras.Model:
    return keras.Model(model.inputs, keras.ops.softmax(model.outputs[0]))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A user's own module."""
    module = types.ModuleType("own_models")
    module.flat = flat
    module.lazy = lambda num_classes, image_size: Lazy(num_classes)
    module.needy = lambda num_classes, image_size, rank: flat(num_classes, image_size, rank)
    module.open = lambda num_classes, image_size, **options: flat(num_classes, image_size, **options)
    module.narrow = lambda num_classes: flat(num_classes, 8)
    module.number = lambda num_classes, image_size: 3
    module.pooled = lambda num_classes, image_size: flat(num_classes + 1, image_size)
    module.operation = lambda num_classes, image_size: with_softmax(flat(num_classes, image_size))
    module.nested = lambda num_classes, image_size: keras.Sequential([flat(num_classes, image_size, 3, "softmax")])
    module.hidden = lambda num_classes, image_size: Hidden(num_classes)
    module.numbered = lambda num_classes, image_size: Numbered(num_classes)
    module.answer = 42
    monkeypatch.setitem(sys.modules, "own_models", module)
    return module


def values(model: keras.Model) -> dict[str, Array]:
    return {name: keras.ops.convert_to_numpy(v) for name, v in initial.parameters(model).items()}


@pytest.mark.parametrize(("name", "options"), [("convnet", {}), ("bit", {"depth": [1], "width": 0.5})])
def test_every_name_builds_a_model_from_its_seed(name: str, options: dict[str, Any]) -> None:
    first, second = (catalog.build(name, options, 5, 16, seed=7) for _ in range(2))
    assert first.compute_output_shape((None, 16, 16, 3)) == (None, 5)
    for key, value in values(first).items():
        np.testing.assert_array_equal(value, values(second)[key])
        if key.endswith("scale"):
            assert (value == 1).all()


def test_all_names_are_tried() -> None:
    assert set(catalog.MODELS) == {"bit", "convnet", "efficientnet_lite", "mobilenet_v3"}


def test_an_own_builder_is_called_with_its_options(own: types.ModuleType) -> None:
    keras.layers.Dense(1)
    first = catalog.build("own_models:flat", {"units": 6}, 5, 8, seed=7)
    second = catalog.build("own_models:flat", {"units": 6}, 5, 8, seed=7)
    third = catalog.build("own_models:flat", {"units": 6}, 5, 8, seed=8)
    assert [value.shape for value in values(first).values()] == [(192, 6), (6,), (6, 5), (5,)]
    assert list(initial.parameters(first)) == list(initial.parameters(second))
    for name, value in values(first).items():
        np.testing.assert_array_equal(value, values(second)[name])
        assert name.endswith("bias") or (value != values(third)[name]).any()
    assert catalog.build("own_models:open", {"units": 2}, 5, 8, seed=7).count_params() == 192 * 2 + 2 + 10 + 5


def test_a_lazy_model_comes_back_built(own: types.ModuleType) -> None:
    assert catalog.build("own_models:lazy", {}, 5, 8, seed=7).count_params() == 192 * 5 + 5


def test_building_keeps_the_dtype_policy(own: types.ModuleType) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = catalog.build("own_models:flat", {}, 5, 8, seed=7)
        assert keras.config.dtype_policy().name == model.layers[-1].dtype_policy.name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


@pytest.fixture
def _quick_initialisers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ones of numpy's in Keras's own models, whose initialisers JAX would compile for each shape."""
    for kind in (keras.initializers.VarianceScaling, keras.initializers.Zeros, keras.initializers.Ones):
        monkeypatch.setattr(kind, "__call__", lambda self, shape, dtype=None, **_: np.ones(shape, dtype))


@pytest.mark.usefixtures("_quick_initialisers")
@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small"])
def test_an_application_of_keras_gives_logits(name: str) -> None:
    model = catalog.build(f"keras.applications:{name}", {"alpha": 0.35}, 5, 32, seed=7)
    assert model.compute_output_shape((None, 32, 32, 3)) == (None, 5)
    assert model.layers[-1].activation is keras.activations.linear
    # The views are in [-1, 1] already.
    assert not any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    other = catalog.build(f"keras.applications:{name}", {"alpha": 1.0}, 5, 32, seed=7)
    assert other.count_params() > model.count_params()


def test_a_file_keeps_its_weights(tmp_path: Path) -> None:
    model = flat(5, 8)
    path = tmp_path / "teacher.keras"
    model.save(path)
    again = catalog.build(str(path), {}, 5, 8, seed=7)
    for expected, actual in zip(values(model).values(), values(again).values(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_backend_wraps_its_own_modules(own: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_wrappers", [])
    catalog.install_wrapper(lambda made, size, seed: flat(5, size, units=seed) if made == 3 else None)
    assert catalog.build("own_models:number", {}, 5, 8, seed=7).layers[-2].units == 7


@pytest.mark.parametrize(("library", "hint"), [("torch", "needs backend=torch"), ("flax", "needs backend=jax")])
def test_a_module_of_another_library_is_told_its_backend(library: str, hint: str, own: types.ModuleType) -> None:
    kind = type("Module", (), {"__module__": f"{library}.nn"})
    own.module = lambda num_classes, image_size: type("Net", (kind,), {"__module__": "own_models"})()
    with pytest.raises(UserError, match=rf"expected a keras\.Model, received a own_models\.Net: a .* {hint}"):
        catalog.build("own_models:module", {}, 5, 8, seed=7)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "convnett",
            {},
            "'convnett': did you mean 'convnet'? allowed: bit, convnet, efficientnet_lite, mobilenet_v3; or",
        ),
        ("convnet", {"width": [8]}, "model 'convnet' has no option 'width': did you mean 'widths'?"),
        ("convnet", {"num_classes": 3}, "model 'convnet' has no option 'num_classes'"),
        ("nowhere.at_all:build", {}, "there is no module 'nowhere' in "),
        ("own_models:flatt", {}, "own_models has no function 'flatt'; did you mean 'flat'?"),
        ("own_models:answer", {}, "own_models has no function 'answer'"),
        ("own_models:flat", {"unit": 3}, "has no option 'unit': did you mean 'units'? allowed: activation, units"),
        ("own_models:needy", {}, "'own_models:needy' needs the option 'rank'"),
        ("own_models:narrow", {}, "its function must take image_size= (it takes num_classes)"),
        ("own_models:number", {}, "expected a keras.Model, received a int"),
        ("own_models:pooled", {}, "gives [B, 6], expected logits [B, 5]"),
        ("own_models:flat", {"activation": "softmax"}, "ends in softmax, expected logits: build it without"),
        ("own_models:operation", {}, "ends in softmax, expected logits"),
        ("own_models:nested", {}, "ends in softmax, expected logits"),
        ("own_models:hidden", {}, "gives probabilities, expected logits"),
        ("own_models:numbered", {}, ": it must take any number"),
        ("keras.applications:MobileNetV2", {"alfa": 1}, "has no option 'alfa': did you mean 'alpha'?"),
        ("keras.applications:MobileNetV2", {"classifier_activation": None}, "has no option 'classifier_activation'"),
        ("keras.applications:MobileNetV2", {"weights": "imagenet"}, "`classes` should be 1000"),
        ("keras.applications:MobileNet9", {}, "has no function 'MobileNet9'; did you mean 'MobileNet"),
        ("missing.keras", {}, "there is no such file"),
        ("missing.keras", {"a": 1}, "a .keras file takes no options, got a"),
    ],
)
def test_mistakes_are_explained(name: str, options: dict[str, Any], message: str, own: types.ModuleType) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        catalog.build(name, options, 5, 8, seed=0)


def test_a_file_of_another_size_or_no_model_is_explained(tmp_path: Path) -> None:
    flat(5, 8).save(tmp_path / "teacher.keras")
    with pytest.raises(UserError, match=r"doesn't take views \[B, 16, 16, 3\]"):
        catalog.build(str(tmp_path / "teacher.keras"), {}, 5, 16, seed=0)
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"broken.keras' can't be loaded: "):
        catalog.build(str(tmp_path / "broken.keras"), {}, 5, 8, seed=0)
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(2**27))
    with pytest.raises(UserError, match=r"bomb.keras' can't be loaded: [\d,]+ bytes that would unpack to 134,"):
        catalog.build(str(tmp_path / "bomb.keras"), {}, 5, 8, seed=0)


@pytest.mark.skipif("tensorflow" in sys.modules, reason="it is in use")
def test_an_engine_that_nothing_uses_is_not_imported_to_be_seeded(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')")
    (tmp_path / "mine.py").write_text(
        "import keras\n"
        "def build(num_classes, image_size):\n"
        "    image = keras.Input((image_size, image_size, 3))\n"
        "    return keras.Model(image, keras.layers.Dense(num_classes)(keras.layers.Flatten()(image)))\n"
    )
    code = "from framework.models import catalog; catalog.build('mine:build', {}, 5, 8, seed=0)"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""BiT against recorded values of the authors' code: logits, what lies between, gradients, and sizes."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from framework.errors import UserError
from framework.models import initial
from framework.models.bit import Bit, bit
from tests.recorded import params, recordings

Array = np.ndarray
GOLDEN = recordings("bit_")
INPUT = re.compile(r"io\d+")
# The whole inside is recorded for the first input; those after it have odd sizes.
ODD_SIZES = [
    (file, name)
    for file, arrays in GOLDEN.items()
    for name in sorted({key.partition("/")[0] for key in arrays.files})
    if INPUT.fullmatch(name) and name != "io0"
]
WITH_GRADIENTS = [file for file, arrays in GOLDEN.items() if "grad_io/loss" in arrays]


@cache
def recorded(file: str) -> dict[str, Array]:
    return dict(GOLDEN[file])


@cache
def image_size(file: str) -> int:
    return int(recorded(file)["io0/image"].shape[1])


def under(file: str, prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in recorded(file).items() if name.startswith(prefix)}


@cache
def model_of(file: str) -> Bit:
    model = bit(image_size=image_size(file), **json.loads(str(recorded(file)["config"])))
    initial.assign(model, under(file, "params/"))
    return model


def numpy(tensor: Any) -> Array:
    return keras.ops.convert_to_numpy(tensor)


def assert_recorded(actual: Array, expected: Array) -> None:
    # The recording itself is within 2e-5 of float64.
    np.testing.assert_allclose(actual, expected, atol=2e-4, rtol=1e-4)


def everything(model: Bit, image: Any) -> dict[str, Any]:
    """What the recordings hold, by their names; `stem`, the stages and `map` as whole maps."""
    found = {"stem": model.root_block(image)}
    x = found["stem"]
    for stage, block in enumerate(model.blocks, start=1):
        for number, unit in enumerate(block.units, start=1):
            x = unit(x)
            found[f"stage{stage}_unit{number:02d}"] = x
    last = keras.ops.relu(model.norm_pre_head(x))
    found["pre_logits"] = keras.ops.mean(last, axis=(1, 2))
    found["logits_2d"] = model.head(keras.ops.reshape(last, (-1, last.shape[-1])))
    return {**found, "logits": model(image)}


@pytest.mark.parametrize("file", GOLDEN)
def test_all_that_lies_between_is_the_authors(file: str, compiled: Any) -> None:
    model, values = model_of(file), under(file, "io0/")
    found = compiled(model, lambda image: everything(model, image), values["image"])
    assert_recorded(found["stem"][:1], values["stem_0"])
    expected = values["logits_2d_0"]
    assert_recorded(found["logits_2d"].reshape(-1, *expected.shape[1:])[:1], expected)
    units = [name.removesuffix("_corner") for name in values if name.endswith("_corner")]
    assert units == [name for name in found if name.startswith("stage")]
    for name in units:
        assert_recorded(found[name][0, :2, :2, :8], values[f"{name}_corner"])
        assert_recorded(np.array([found[name].mean(), found[name].std()]), values[f"{name}_mean_std"])
    for name in ("pre_logits", "logits"):
        assert_recorded(found[name], values[name])


@pytest.mark.parametrize(("file", "io"), params(ODD_SIZES))
def test_odd_sizes_are_padded_as_the_authors(file: str, io: str, compiled: Any) -> None:
    model, values = model_of(file), under(file, f"{io}/")
    assert_recorded(compiled(model, model, values["image"]), values["logits"])


@pytest.mark.parametrize("file", WITH_GRADIENTS)
def test_gradients_are_the_authors(file: str, differentiate: Any) -> None:
    model, values = model_of(file), under(file, "grad_io/")
    named = initial.parameters(model)
    temperature, teacher = float(values["temperature"]), values["teacher_logits"]

    def loss(*weights: Any) -> Any:
        logits, _ = model.stateless_call(list(weights), [], values["image"])
        target = keras.ops.softmax(teacher / temperature)
        cross = -keras.ops.sum(target * keras.ops.log_softmax(logits / temperature), axis=-1)
        entropy = -keras.ops.sum(target * keras.ops.log(target), axis=-1)
        return temperature**2 * keras.ops.sum(cross - entropy) / len(teacher)

    assert [id(variable) for variable in named.values()] == [id(variable) for variable in model.trainable_variables]
    value, gradients = differentiate(loss, *[under(file, "params/")[name] for name in named])
    np.testing.assert_allclose(value, values["loss"], rtol=1e-5)
    expected = under(file, "grads/")
    assert set(expected) == set(named)
    for name, gradient in zip(named, gradients, strict=True):
        assert np.abs(gradient - expected[name]).max() <= 1e-4 * np.abs(expected[name]).max(), name


@pytest.mark.parametrize("file", WITH_GRADIENTS)
def test_zero_padding_changes_the_stem(file: str, compiled: Any) -> None:
    config = json.loads(str(recorded(file)["config"]))
    model = bit(image_size=image_size(file), root_padding="zero", **config)
    initial.assign(model, under(file, "params/"))
    image, stem = recorded(file)["io0/image"], recorded(file)["io0/stem_0"]
    zero = compiled(model, model.root_block, image)[:1]
    # Only the first row and column see the padding, and zeros can only raise what they see.
    np.testing.assert_allclose(zero[:, 1:, 1:], stem[:, 1:, 1:], atol=2e-4)
    assert_recorded(np.maximum(stem, 0)[:, 0], zero[:, 0])
    assert (zero[:, 0] > stem[:, 0] + 0.01).any()


def test_epsilons_are_the_authors(compiled: Any) -> None:
    """1e-5 under the norms, 1e-10 under the kernels; the recordings' maps and kernels vary too much to tell."""
    model, rng = bit(3, 32, depth=[1], width=0.5), np.random.default_rng(0)
    initial.initialise(model, 0)
    norm, conv = model.blocks[0].units[0].gn1, model.root_block.conv_root
    flat = (3e-3 * rng.standard_normal((2, 4, 4, 32))).astype(np.float32)
    small = (1e-5 * rng.standard_normal(conv.kernel.shape)).astype(np.float32)
    conv.kernel.assign(small)
    for function, values, axes, epsilon in (
        (norm, flat, (1, 2), 1e-5),
        (lambda _: conv.effective_kernel(), small, (0, 1, 2), 1e-10),
    ):
        centred = values.astype(np.float64) - values.mean(axes, keepdims=True, dtype=np.float64)
        expected = centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + epsilon)
        np.testing.assert_allclose(compiled(model, function, values), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "width", "classes", "count", "tensors"),
    [(50, 1.0, 37, 23_576_165, 153), (50, 1, 1000, 25_549_352, 153)],
)
def test_parameter_counts_are_the_papers(depth: int, width: float, classes: int, count: int, tensors: int) -> None:
    model = bit(classes, 64, depth=depth, width=width)
    assert model.count_params() == count
    assert len(initial.parameters(model)) == tensors


def test_head_starts_at_zero_unless_told_otherwise() -> None:
    for zero in (True, False):
        model = bit(5, 32, depth=[1], width=0.5, head_zero_init=zero)
        initial.initialise(model, 0)
        kernels = {n: numpy(v) for n, v in initial.parameters(model).items() if n.endswith("/kernel")}
        assert [name for name, kernel in kernels.items() if not kernel.any()] == (["head/kernel"] if zero else [])


def test_a_saved_model_comes_back(tmp_path: Path, compiled: Any) -> None:
    model = bit(3, 32, depth=[1, 1], width=0.5, root_padding="zero", head_zero_init=False)
    initial.initialise(model, 1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert list(initial.parameters(again)) == list(initial.parameters(model))
    image = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(compiled(again, again, image), compiled(model, model, image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 51}, "depth=51; allowed: 26, 50, 101, 152, 200"),
        ({"depth": []}, r"depth=\[\] must list positive whole numbers"),
        ({"depth": [2, 0]}, "positive whole numbers"),
        ({"width": 0.3}, "19.2 channels, which must be a multiple of 32"),
        ({"root_padding": "same"}, "root_padding='same'; allowed: -inf, zero"),
    ],
)
def test_mistakes_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bit(3, 32, **options)

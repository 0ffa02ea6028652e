"""The small convnet: sizes, an independent computation of its logits, saving, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from framework.errors import UserError
from framework.models import initial
from framework.models.convnet import convnet

Array = np.ndarray


def filled(seed: int = 0, **options: Any) -> keras.Model:
    """A model none of whose parameters is trivial."""
    model = convnet(**{"num_classes": 5, "image_size": 8, **options})
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(generator.standard_normal(tuple(variable.shape)).astype("float32"))
    return model


def convolved(x: Array, kernel: Array, stride: int) -> Array:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("bpqihw,hwio->bpqo", windows, kernel)


def normalised(x: Array, scale: Array, bias: Array, groups: int) -> Array:
    batch, height, width, channels = x.shape
    grouped = x.reshape(batch, height * width, groups, channels // groups)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    normal = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)
    return normal.reshape(x.shape) * scale + bias


@pytest.mark.parametrize(
    ("widths", "convs", "stem_stride", "classes", "count"),
    [
        ([32, 64, 128], 2, 2, 33, 291_713),
        ([16, 32, 64], 1, 2, 33, 25_841),
        ([16, 32, 64], 1, 1, 10, 24_346),
        ([8, 16, 16], 1, 1, 10, 3_922),
    ],
)
def test_sizes_of_the_showcases_nets(widths: list[int], convs: int, stem_stride: int, classes: int, count: int) -> None:
    model = convnet(classes, 24, widths, convs_per_stage=convs, stem_stride=stem_stride)
    assert model.count_params() == count
    assert model.compute_output_shape((7, 24, 24, 3)) == (7, classes)


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("size", [8, 7])
def test_logits_are_convolution_norm_relu_mean_and_head(size: int, standardised: bool, compiled: Any) -> None:
    model = filled(image_size=size, widths=[4, 16], convs_per_stage=2, stem_stride=2, standardised=standardised)
    p = {n: keras.ops.convert_to_numpy(v).astype("float64") for n, v in initial.parameters(model).items()}
    image = np.random.default_rng(1).uniform(-1, 1, (3, size, size, 3)).astype("float32")
    x = image.astype("float64")
    for stage, groups in ((1, 4), (2, 8)):
        for conv, stride in ((1, 2), (2, 1)):
            kernel = p[f"stage{stage}/conv{conv}/kernel"]
            if standardised:
                kernel = (kernel - kernel.mean((0, 1, 2))) / np.sqrt(kernel.var((0, 1, 2)) + 1e-10)
            x = convolved(x, kernel, stride)
            x = normalised(x, p[f"stage{stage}/norm{conv}/scale"], p[f"stage{stage}/norm{conv}/bias"], groups)
            x = np.maximum(x, 0)
    expected = x.mean((1, 2)) @ p["head/kernel"] + p["head/bias"]
    np.testing.assert_allclose(compiled(model, model, image), expected, rtol=1e-4, atol=1e-4)


def test_mixed_precision_keeps_variables_in_float32(compiled: Any) -> None:
    before = keras.config.dtype_policy()
    image = np.random.default_rng(1).uniform(-1, 1, (3, 8, 8, 3)).astype("float32")
    exact = filled(widths=[8, 16], standardised=True)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = filled(widths=[8, 16], standardised=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert {str(variable.dtype) for variable in model.variables} == {"float32"}
    logits = compiled(model, lambda views: keras.ops.cast(model(views), "float32"), image)
    expected = compiled(exact, exact, image)
    assert np.abs(logits - expected).max() <= 0.05 * np.abs(expected).max()
    assert np.abs(logits - expected).max() > 0


def test_a_saved_model_comes_back(tmp_path: Path, compiled: Any) -> None:
    model = filled(widths=[8, 16], convs_per_stage=2, stem_stride=2, standardised=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    image = np.random.default_rng(1).uniform(-1, 1, (3, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(compiled(again, again, image), compiled(model, model, image))
    assert list(initial.parameters(again)) == list(initial.parameters(model))


@pytest.mark.parametrize(
    "options",
    [{"widths": []}, {"widths": [8, -1]}, {"widths": [8, 1.5]}, {"convs_per_stage": 0}, {"stem_stride": True}],
)
def test_mistakes_name_the_option(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"convnet: {next(iter(options))}=.* must be positive whole numbers"):
        convnet(5, 8, **options)

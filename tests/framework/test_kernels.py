"""One table for all kernels: defaults against plain numpy, and what a backend installed against the defaults."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from framework import kernels

Array = np.ndarray


def windows(x: Array, size: tuple[int, int], stride: int, padding: kernels.Padding, value: float) -> Array:
    """[B, H', W', h, w, C] of what stands in each window."""
    x = np.pad(x, ((0, 0), *kernels.pairs(padding), (0, 0)), constant_values=value)
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))[:, ::stride, ::stride]
    return np.moveaxis(view, 3, -1)


def conv2d(x: Array, kernel: Array, stride: int = 1, padding: kernels.Padding = 0) -> Array:
    height, width, inputs, _ = kernel.shape
    groups = x.shape[-1] // inputs
    seen = windows(x, (height, width), stride, padding, 0.0)
    parts = zip(np.split(seen, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    return np.concatenate([np.einsum("bpqhwi,hwio->bpqo", part, weights) for part, weights in parts], axis=-1)


def group_norm(x: Array, scale: Array, bias: Array, groups: int, epsilon: float = 1e-5, relu: bool = False) -> Array:
    parts = np.split(x, groups, axis=-1)
    normal = [
        (part - part.mean((1, 2, 3), keepdims=True)) / np.sqrt(part.var((1, 2, 3), keepdims=True) + epsilon)
        for part in parts
    ]
    result = np.concatenate(normal, axis=-1) * scale.ravel() + bias.ravel()
    return np.maximum(result, 0) if relu else result


def max_pool(x: Array, size: int, stride: int, padding: kernels.Padding = 0, value: float = -np.inf) -> Array:
    return windows(x, (size, size), stride, padding, value).max(axis=(3, 4))


def standardise(kernel: Array, epsilon: float = 1e-10) -> Array:
    centred = kernel - kernel.mean((0, 1, 2))
    return centred / np.sqrt((centred**2).mean((0, 1, 2)) + epsilon)


REFERENCE: dict[str, Callable[..., Array]] = {
    "conv2d": conv2d,
    "depthwise_conv2d": conv2d,
    "group_norm": group_norm,
    "max_pool": max_pool,
    "global_mean": lambda x: x.mean((1, 2)),
    "standardise": standardise,
    "dense": lambda x, kernel, bias: x @ kernel + bias,
}

# The kernel, the shapes of its arrays, its other arguments.
CASES: list[tuple[str, tuple[tuple[int, ...], ...], dict[str, Any]]] = [
    ("conv2d", ((2, 7, 9, 4), (3, 3, 4, 6)), {"padding": 1}),
    ("conv2d", ((2, 8, 8, 4), (3, 3, 4, 6)), {"stride": 2, "padding": 1}),
    ("conv2d", ((2, 7, 9, 4), (3, 3, 4, 6)), {"stride": 2, "padding": 1}),
    ("conv2d", ((2, 9, 8, 3), (3, 3, 3, 5)), {"stride": 2}),
    ("conv2d", ((2, 15, 14, 3), (7, 7, 3, 4)), {"stride": 2, "padding": 3}),
    ("conv2d", ((2, 6, 5, 4), (3, 3, 4, 2)), {"padding": ((0, 1), (2, 1))}),
    ("conv2d", ((2, 6, 5, 4), (1, 1, 4, 6)), {}),
    ("conv2d", ((2, 6, 5, 4), (1, 1, 4, 6)), {"stride": 2}),
    ("conv2d", ((2, 5, 5, 4), (1, 1, 4, 6)), {"padding": 1}),
    ("conv2d", ((3, 4, 4, 4), (3, 3, 4, 6)), {"stride": 2, "padding": 1}),
    ("conv2d", ((3, 3, 4, 4), (3, 3, 4, 6)), {"stride": 2, "padding": 1}),
    ("conv2d", ((3, 2, 2, 4), (3, 3, 4, 6)), {"padding": 1}),
    ("conv2d", ((3, 1, 2, 4), (3, 3, 4, 6)), {"stride": 2, "padding": 1}),
    ("conv2d", ((3, 4, 5, 4), (3, 3, 4, 6)), {}),
    ("conv2d", ((2, 6, 6, 4), (3, 3, 2, 6)), {"padding": 1}),
    ("conv2d", ((2, 6, 6, 4), (3, 3, 1, 4)), {"stride": 2, "padding": 1}),
    ("conv2d", ((2, 4, 4, 4), (1, 1, 2, 6)), {}),
    ("depthwise_conv2d", ((2, 7, 8, 4), (3, 3, 1, 4)), {"padding": 1}),
    ("depthwise_conv2d", ((2, 8, 8, 4), (5, 5, 1, 4)), {"stride": 2, "padding": ((1, 2), (1, 2))}),
    ("depthwise_conv2d", ((3, 2, 2, 4), (3, 3, 1, 4)), {"padding": 1}),
    ("group_norm", ((2, 5, 4, 12), (1, 1, 1, 12), (1, 1, 1, 12)), {"groups": 3}),
    ("group_norm", ((2, 4, 4, 8), (8,), (8,)), {"groups": 1}),
    ("group_norm", ((2, 3, 5, 8), (1, 1, 1, 8), (1, 1, 1, 8)), {"groups": 8}),
    ("group_norm", ((2, 1, 1, 8), (8,), (8,)), {"groups": 2, "epsilon": 0.3}),
    ("group_norm", ((2, 5, 4, 12), (1, 1, 1, 12), (1, 1, 1, 12)), {"groups": 3, "relu": True}),
    ("max_pool", ((2, 8, 8, 5),), {"size": 3, "stride": 2, "padding": 1}),
    ("max_pool", ((2, 7, 9, 5), ), {"size": 3, "stride": 2, "padding": 1}),
    ("max_pool", ((2, 7, 8, 5), ), {"size": 3, "stride": 2, "padding": 1, "value": 0.0}),
    ("max_pool", ((2, 6, 6, 5), ), {"size": 2, "stride": 2}),
    ("max_pool", ((2, 5, 6, 5), ), {"size": 3, "stride": 1, "padding": ((0, 1), (1, 0))}),
    ("global_mean", ((3, 4, 5, 6),), {}),
    ("standardise", ((3, 3, 4, 6),), {}),
    ("standardise", ((1, 1, 8, 6),), {"epsilon": 0.1}),
    ("dense", ((3, 6), (6, 4), (4,)), {}),
]  # fmt: skip
IDS = [f"{name}-{index}" for index, (name, *_) in enumerate(CASES)]
INSTALLED = [index for index, (name, *_) in enumerate(CASES) if name in kernels._installed]
# Relative to the largest value; float32 sums of some hundred terms against differently ordered ones.
TOLERANCE = {"float64": 1e-13, "float32": 5e-6}


def arrays_for(shapes: tuple[tuple[int, ...], ...], dtype: str = "float64") -> list[Array]:
    generator = np.random.default_rng(7)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_close(actual: Array, expected: Array, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def call(name: str, default: bool, options: dict[str, Any]) -> Callable[..., Any]:
    kernel = getattr(kernels, name)
    return lambda *tensors: (kernel.default if default else kernel)(*tensors, **options)


@pytest.fixture(scope="module")
def computed() -> dict[Any, Any]:
    """Values and gradients by (case, dtype, form): compiling them is what these tests spend their time on."""
    return {}


@pytest.fixture
def compute(differentiate: Any, computed: dict[Any, Any]) -> Callable[[int, str, bool], Any]:
    def run(index: int, dtype: str, default: bool) -> Any:
        name, shapes, options = CASES[index]
        if (index, dtype, default) not in computed:
            arrays, function = arrays_for(shapes, dtype), call(name, default, options)
            computed[index, dtype, default] = differentiate(function, *arrays, cotangent=cotangent_for(index))
        return computed[index, dtype, default]

    return run


def cotangent_for(index: int) -> Array:
    name, shapes, options = CASES[index]
    return np.random.default_rng(8).standard_normal(REFERENCE[name](*arrays_for(shapes), **options).shape)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_default_is_the_definition(index: int, dtype: str, compute: Any) -> None:
    name, shapes, options = CASES[index]
    value, _ = compute(index, dtype, True)
    assert value.dtype == dtype
    arrays = [array.astype("float64") for array in arrays_for(shapes, dtype)]
    assert_close(value, REFERENCE[name](*arrays, **options), TOLERANCE[dtype])


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_default_has_the_definitions_gradient(index: int, compute: Any) -> None:
    name, shapes, options = CASES[index]
    arrays, cotangent = arrays_for(shapes), cotangent_for(index)
    for place, gradient in enumerate(compute(index, "float64", True)[1]):
        direction = np.random.default_rng(9).standard_normal(arrays[place].shape)

        def moved(step: float, place: int = place, direction: Array = direction) -> float:
            shifted = [array + step * direction if i == place else array for i, array in enumerate(arrays)]
            return float((REFERENCE[name](*shifted, **options) * cotangent).sum())

        # Central differences: an error of step squared, and of 1e-16 / step.
        slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
        assert abs(slope - (gradient * direction).sum()) <= 1e-6 * np.abs(gradient * direction).sum()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("index", INSTALLED, ids=[IDS[index] for index in INSTALLED])
def test_installed_equals_default(index: int, dtype: str, compute: Any) -> None:
    value, gradients = compute(index, dtype, False)
    expected, expected_gradients = compute(index, dtype, True)
    assert value.dtype == dtype
    assert_close(value, expected, TOLERANCE[dtype])
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == dtype
        assert_close(gradient, expected_gradient, TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "default"), list(itertools.product(REFERENCE, [True, False])))
def test_half_precision_keeps_its_dtype(name: str, default: bool) -> None:
    shapes, options = next((shapes, options) for kernel, shapes, options in CASES if kernel == name)
    arrays = arrays_for(shapes, "float32")
    halves = [keras.ops.cast(array, "bfloat16") for array in arrays]
    value = call(name, default, options)(*halves)
    assert keras.backend.standardize_dtype(value.dtype) == "bfloat16"
    rounded = [keras.ops.convert_to_numpy(keras.ops.cast(half, "float32")).astype("float64") for half in halves]
    # A bfloat16 has 8 significant bits.
    result = keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
    assert_close(result, REFERENCE[name](*rounded, **options), 2e-2)


@pytest.mark.parametrize("default", [True, False])
def test_group_norm_survives_a_large_mean(default: bool, differentiate: Any) -> None:
    x, scale, bias = arrays_for(((2, 6, 6, 8), (8,), (8,)), "float32")
    x += 1000.0
    value, _ = differentiate(call("group_norm", default, {"groups": 2}), x, scale, bias)
    # 1000 has a float32 spacing of 6e-5; the difference of two means of squares would be off by 0.1.
    assert_close(value, group_norm(x.astype("float64"), scale, bias, 2), 1e-3)


def test_a_replacement_is_found_when_called() -> None:
    before = dict(kernels._installed)
    try:
        kernels.install({"dense": lambda x, kernel, bias: "mine"})
        assert kernels.dense(None, None, None) == "mine"
        kernels.install({})
        assert not kernels._installed
    finally:
        kernels.install(before)


def test_every_replaced_kernel_is_in_the_table() -> None:
    models = {name for name, value in vars(kernels).items() if isinstance(value, kernels.Kernel)}
    assert models == set(REFERENCE) == {name for name, *_ in CASES}

"""Values and gradients through each engine's own autograd, on numpy arrays.

Properties are looked at with the same examples each time, and without a clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tests.backends.conftest import engine, tiny  # noqa: F401 - fixtures

Array = np.ndarray
Function = Callable[..., Any]
Result = tuple[Array, list[Array]]
Differentiate = Callable[..., Result]

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def by_jax(function: Function, *arrays: Array, cotangent: Array | None = None) -> Result:
    import jax

    def both(*tensors: Any) -> tuple[Any, Any]:
        value, pull = jax.vjp(function, *tensors)
        return value, pull(jax.numpy.ones_like(value) if cotangent is None else cotangent.astype(value.dtype))

    wide = any(array.dtype == np.float64 for array in arrays)
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        value, gradients = jax.jit(both)(*arrays)
        return np.array(value), [np.array(gradient) for gradient in gradients]


def by_torch(function: Function, *arrays: Array, cotangent: Array | None = None) -> Result:
    import torch

    tensors = [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]
    value = function(*tensors)
    weights = torch.ones_like(value) if cotangent is None else torch.from_numpy(cotangent).to(value.dtype)
    gradients = torch.autograd.grad(value, tensors, weights)
    return value.detach().numpy(), [gradient.numpy() for gradient in gradients]


def by_tensorflow(function: Function, *arrays: Array, cotangent: Array | None = None) -> Result:
    import tensorflow as tf

    tensors = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = tf.function(function, autograph=False)(*tensors)
    weights = None if cotangent is None else tf.constant(cotangent, value.dtype)
    return value.numpy(), [gradient.numpy() for gradient in tape.gradient(value, tensors, weights)]


@pytest.fixture
def differentiate(backend: str) -> Differentiate:
    """`differentiate(function, *arrays, cotangent=None)` gives the value and each argument's gradient."""
    return {"jax": by_jax, "torch": by_torch, "tensorflow": by_tensorflow}[backend]


def as_numpy(result: Any) -> Any:
    """A tensor, or a dictionary of them, as numpy arrays."""
    return {name: np.array(tensor) for name, tensor in result.items()} if isinstance(result, dict) else np.array(result)


def in_jax(model: Any, function: Function, arrays: tuple[Array, ...]) -> Any:
    import jax
    import keras

    def pure(values: list[Any], tensors: tuple[Any, ...]) -> Any:
        with keras.StatelessScope(state_mapping=zip(model.variables, values, strict=True)):
            return function(*tensors)

    return as_numpy(jax.jit(pure)([variable.value for variable in model.variables], arrays))


def in_torch(model: Any, function: Function, arrays: tuple[Array, ...]) -> Any:
    import torch

    with torch.no_grad():
        return as_numpy(function(*[torch.from_numpy(array) for array in arrays]))


def in_tensorflow(model: Any, function: Function, arrays: tuple[Array, ...]) -> Any:
    import tensorflow as tf

    return as_numpy(tf.function(function, autograph=False)(*arrays))


@pytest.fixture
def compiled(backend: str) -> Callable[..., Any]:
    """`compiled(model, function, *arrays)`: what a function of the model gives, in one compiled call."""
    run = {"jax": in_jax, "torch": in_torch, "tensorflow": in_tensorflow}[backend]
    return lambda model, function, *arrays: run(model, function, arrays)


@pytest.fixture
def jitted(backend: str) -> Callable[[Function], Function]:
    """`jitted(function)` is what a trainer makes of it: jitted on JAX, a graph on TensorFlow, itself on PyTorch."""

    def jax(function: Function) -> Function:
        import jax

        return jax.jit(function)

    def tensorflow(function: Function) -> Function:
        import tensorflow as tf

        return tf.function(function, autograph=False)

    return {"jax": jax, "tensorflow": tensorflow, "torch": lambda function: function}[backend]

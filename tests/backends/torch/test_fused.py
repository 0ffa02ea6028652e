"""Group normalisation for accelerators, held to the default kernel where it can be: compiled for a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from backends.torch import fused
from framework import kernels

SHAPE, GROUPS = (3, 6, 5, 16), 4


def arrays(mean: float = 0.0) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    x, scale, bias, cotangent = (generator.standard_normal(each) for each in (SHAPE, (1, 1, 1, 16), (16,), SHAPE))
    return [x + mean, scale, bias, cotangent]


def value_and_gradients(function: Any, given: list[np.ndarray], dtype: torch.dtype, relu: bool) -> list[torch.Tensor]:
    x, scale, bias = (torch.tensor(each).to(dtype).requires_grad_() for each in given[:3])
    value = function(x, scale, bias, GROUPS, 1e-5, relu)
    assert value.dtype == dtype
    assert value.is_contiguous()  # channels stay last
    found = [value.detach(), *torch.autograd.grad(value, (x, scale, bias), torch.tensor(given[3]).to(dtype))]
    return [each.double() for each in found]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 5e-6), (torch.bfloat16, 2e-2)]
)
def test_it_is_the_default_kernel(dtype: torch.dtype, tolerance: float, relu: bool) -> None:
    given = arrays()
    exact = [torch.tensor(each).to(dtype).double().numpy() for each in given]
    expected = value_and_gradients(kernels.group_norm.default, exact, torch.float64, relu)
    assert_close(value_and_gradients(fused.norm, given, dtype, relu), expected, tolerance)


@pytest.mark.slow
def test_compiled_it_is_the_default_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator: each kind of call has a program of its own, with and without a backward pass."""
    given = arrays(mean=1000.0)
    compiled: list[Any] = []
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **how: compiled.append(function) or real(function, **how))
    fused._program.cache_clear()
    x, scale, bias, _ = (torch.tensor(each, dtype=torch.float32) for each in given)
    expected = kernels.group_norm.default(x, scale, bias, GROUPS, 1e-5, True)
    for _ in range(2):
        with torch.no_grad():
            found = fused.fused_norm(x, scale, bias, GROUPS, 1e-5, True)
        assert_close([found.double()], [expected.double()], 1e-3)
    assert len(compiled) == 1
    narrow = value_and_gradients(fused.fused_norm, arrays(), torch.float32, True)
    assert_close(narrow, value_and_gradients(kernels.group_norm.default, arrays(), torch.float64, True), 5e-6)
    assert len(compiled) == 2
    assert fused.now.compiles


def test_where_nothing_compiles_it_is_computed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*inputs: Any) -> Any:
        raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, RuntimeError("no compiler"), None)

    monkeypatch.setattr(fused, "_program", lambda *key: fails)
    monkeypatch.setattr(fused.now, "compiles", True)
    x, scale, bias, _ = (torch.tensor(each) for each in arrays())
    found = [fused.fused_norm(x, scale, bias, GROUPS, 1e-5, False) for _ in range(2)]
    assert torch.equal(found[0], fused.norm(x, scale, bias, GROUPS, 1e-5, False))
    assert torch.equal(*found)
    assert capsys.readouterr().err.count("hint: nothing can be compiled") == 1

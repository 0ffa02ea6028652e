"""Where a run computes, and in what precision, on the engine under test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import pytest

from backends.base import Settings
from backends.devices import match
from framework.errors import UserError


@pytest.fixture(autouse=True)
def restored(engine: Any) -> Iterator[None]:
    yield
    engine.configure(Settings("cpu"))


def test_the_cpu_says_what_it_is(engine: Any) -> None:
    device = engine.configure(Settings("cpu"))
    assert (device.kind, device.name) == ("cpu", "cpu:0")
    assert device.threads >= 1
    assert str(device) == f"{device.description} (cpu:0, {device.threads} thread{'s' if device.threads > 1 else ''})"


def test_without_a_name_there_is_always_one(engine: Any) -> None:
    assert engine.configure(Settings()).kind in ("cpu", "gpu", "tpu")


def test_an_unknown_device_is_the_user_s_mistake(engine: Any) -> None:
    with pytest.raises(UserError, match=r"device = 'gpu:99' is not here: .*cpu:0"):
        engine.configure(Settings("gpu:99"))


def test_asking_for_a_gpu_that_is_not_there_says_so(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    try:
        engine.configure(Settings("gpu"))
    except UserError as error:
        told = str(error)
    else:
        pytest.skip("there is a GPU")
    assert "device = 'gpu' is not here: there is cpu:0" in told
    assert 'pip install -c constraints.txt -e ".[' in told


def test_the_extra_is_named_for_a_kind_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    extras = {"gpu": "jax-cuda"}
    with pytest.raises(UserError, match=r'there is cpu:0; .*-e "\.\[jax-cuda\]"'):
        match("gpu:1", ["cpu:0"], extras)
    with pytest.raises(UserError, match=r"did you mean 'gpu:0'\? allowed: cpu:0, gpu:0"):
        match("gpu:1", ["gpu:0", "cpu:0"], extras)
    assert match("cuda", ["gpu:0", "cpu:0"], extras) == match("GPU:0", ["gpu:0", "cpu:0"], extras) == "gpu:0"


def test_what_hides_the_gpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match=r"there is cpu:0; CUDA_VISIBLE_DEVICES = '' hides other GPUs"):
        match("gpu", ["cpu:0"], {"gpu": "jax-cuda"})
    with pytest.raises(UserError, match=r"device = 'cuda:3' is not here: there is gpu:0, cpu:0; CUDA_VIS"):
        match("cuda:3", ["gpu:0", "cpu:0"], {"gpu": "jax-cuda"})
    with pytest.raises(UserError, match=r"allowed: cpu:0$"):
        match("cpu:4", ["cpu:0"], {"gpu": "jax-cuda"})


@pytest.mark.parametrize(
    ("precision", "variables", "arithmetic"),
    [
        ("float32", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("mixed_bfloat16", "float32", "bfloat16"),
    ],
)
def test_precision_is_that_of_models_built_from_now_on(
    engine: Any, precision: Any, variables: str, arithmetic: str
) -> None:
    engine.configure(Settings("cpu", precision=precision))
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert layer.kernel.dtype == variables
    assert layer.compute_dtype == arithmetic


@pytest.mark.gpu
def test_an_accelerator_comes_first(engine: Any, tiny: Any) -> None:
    device = engine.configure(Settings())
    assert device.kind != "cpu"
    spec = tiny.spec()
    trainer = tiny.trainer(spec, device=device)
    losses = tiny.run(trainer, spec, 30)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    one, other = trainer, tiny.trainer(spec, seed=3, device=engine.configure(Settings("cpu")))
    other.restore(one.state())
    assert tiny.run(other, spec, 1) == pytest.approx(tiny.run(one, spec, 1), rel=1e-3)

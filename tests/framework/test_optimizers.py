"""Updates against recorded steps of the authors' optax chain (optimizer*.npz of tests/golden).

They run compiled where the engine compiles, as in the trainers, with the kernel that the backend installs and with the
default one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

import backends
from framework import kernels, optimizers
from framework.errors import UserError
from framework.optimizers.base import decays
from framework.spec import OptimizerSpec
from framework.spec.schedules import constant, warmup_cosine
from tests.recorded import params as parameters
from tests.recorded import recordings

GOLDEN = recordings("optimizer")
VARIANTS = [
    (file, key.removesuffix("/config"))
    for file, arrays in GOLDEN.items()
    for key in arrays.files
    if key.endswith("/config")
]
LAYER = ["layer/kernel", "layer/bias"]


@pytest.fixture(params=["installed", "default"])
def which(request: pytest.FixtureRequest, backend: str) -> Iterator[str]:
    if request.param == "default":
        kernels.install({})
    yield request.param
    kernels.install(backends.load(backend).kernels)


def spec_of(file: str, variant: str) -> tuple[OptimizerSpec, dict[str, Any]]:
    config = json.loads(GOLDEN[file][f"{variant}/config"].item())
    spec = OptimizerSpec(
        lr=config["lr"], weight_decay=config["wd"], clip_norm=config["clip"], moment_dtype=config["mu"]
    )
    return spec, config


def under(file: str, prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): GOLDEN[file][key] for key in GOLDEN[file].files if key.startswith(prefix)}


def zeros(array: np.ndarray, dtype: str | None) -> Any:
    return ops.zeros(array.shape, dtype or array.dtype.name)


def host(tensor: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def run(
    spec: OptimizerSpec,
    schedule: Any,
    params: list[np.ndarray],
    grads: Any,
    jitted: Any,
    names: Sequence[str] = LAYER,
) -> Iterator[Any]:
    """Parameters, moments and gradient norm after each step; `names` are those of the first parameters and of more."""
    optimizer = optimizers.make(spec)
    decayed = [decays(name) for name in names[: len(params)]]

    def update(params: Any, grads: Any, moments: Any, scalars: Any) -> Any:
        return optimizer.update(params, grads, moments, decayed, scalars)

    update = jitted(update)
    tensors = [ops.convert_to_tensor(param.copy()) for param in params]
    moments = {name: [zeros(param, dtype) for param in params] for name, dtype in optimizer.moments.items()}
    for step, each in enumerate(grads):
        scalars = {key: ops.convert_to_tensor(np.float32(v)) for key, v in optimizer.scalars(step, schedule).items()}
        tensors, moments, norm = update(tensors, [ops.convert_to_tensor(grad) for grad in each], moments, scalars)
        tensors = list(tensors)
        yield [host(t) for t in tensors], {key: [host(m) for m in v] for key, v in moments.items()}, host(norm)


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize(("file", "variant"), parameters(VARIANTS))
def test_updates_equal_the_authors(file: str, variant: str, jitted: Any) -> None:
    spec, config = spec_of(file, variant)
    arrays = under(file, f"{variant}/")
    schedule = warmup_cosine(config["total"], config["warm"])
    names = [key.removeprefix("param0/") for key in arrays if key.startswith("param0/")]
    assert names
    before = [arrays[f"param0/{name}"] for name in names]
    grads = [[arrays[f"grad/{name}"][step] for name in names] for step in range(config["n"])]
    half = config["mu"] == "bfloat16"
    for step, (params, moments, norm) in enumerate(run(spec, schedule, before, grads, jitted, names)):
        np.testing.assert_allclose(norm, arrays["grad_global_norm"][step], rtol=1e-5)
        for name, old, new, m, v in zip(names, before, params, moments["m"], moments["v"], strict=True):
            golden = {key: arrays[f"{key}/{name}"][step] for key in ("param", "update", "mu", "nu")}
            np.testing.assert_allclose(new, golden["param"], rtol=0, atol=1e-5)
            np.testing.assert_allclose(new - old, golden["update"], rtol=0, atol=max(1e-4 * config["lr"], 3e-7))
            if half:
                np.testing.assert_array_equal(m, golden["mu"])
            else:
                # Where its terms cancel, a moment is known to a rounding of those.
                np.testing.assert_allclose(m, golden["mu"], rtol=1e-5, atol=3e-7 * np.abs(golden["mu"]).max())
            np.testing.assert_allclose(v, golden["nu"], rtol=1e-5, atol=1e-12)
        before = params


@pytest.mark.usefixtures("which")
def test_adam_s_epsilon_is_the_authors(jitted: Any) -> None:
    """1e-8 outside the root: such a gradient moves by half of lr. Recorded ones are too large to tell."""
    params, grads = [np.zeros(3, np.float32)], [[np.full(3, 1e-8, np.float32)]]
    [(new, _, _)] = run(OptimizerSpec(lr=0.1), constant(1, 0), params, grads, jitted)
    np.testing.assert_allclose(new[0], np.full(3, -0.05), rtol=1e-4)


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_clipping_leaves_small_gradients_alone(name: str, jitted: Any) -> None:
    """Without a bound, with one above the norm and just at half of it."""
    params, grads = [np.ones((2, 2), np.float32)], [[np.full((2, 2), 0.25, np.float32)]]

    def moment(clip_norm: float | None) -> np.ndarray:
        spec = OptimizerSpec(name=name, clip_norm=clip_norm)
        [(_, moments, norm)] = run(spec, constant(1, 0), params, grads, jitted)
        assert norm == pytest.approx(0.5)
        return moments["m"][0]

    np.testing.assert_array_equal(moment(None), moment(0.51))
    np.testing.assert_allclose(moment(0.25), moment(None) / 2, rtol=1e-6)


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_gradient_of_zero_is_no_danger(name: str, jitted: Any) -> None:
    params = [np.ones(3, np.float32)]
    [(new, _, norm)] = run(
        OptimizerSpec(name=name, weight_decay=0), constant(1, 0), params, [[np.zeros(3, np.float32)]], jitted
    )
    assert norm == 0
    np.testing.assert_array_equal(new[0], params[0])


def test_sgd_equals_plain_numpy(jitted: Any) -> None:
    spec = OptimizerSpec(name="sgd", lr=0.1, weight_decay=0.01, b1=0.8, clip_norm=1.0)
    schedule = warmup_cosine(6, 2)
    rng = np.random.default_rng(0)
    params = [rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=(2,)).astype(np.float32)]
    grads = [[rng.normal(size=p.shape).astype(np.float32) for p in params] for _ in range(5)]
    expected, momentum = [p.astype(np.float64) for p in params], [np.zeros(p.shape) for p in params]
    kernel = [decays(name) for name in LAYER]
    assert kernel == [True, False]
    for step, (found, moments, norm) in enumerate(run(spec, schedule, params, grads, jitted)):
        size = np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in grads[step]))
        assert norm == pytest.approx(size, rel=1e-6)
        for i, grad in enumerate(grads[step]):
            momentum[i] = 0.8 * momentum[i] + grad / max(1.0, size)
            expected[i] = expected[i] - schedule(step) * (0.1 * momentum[i] + 0.01 * kernel[i] * expected[i])
            np.testing.assert_allclose(found[i], expected[i], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(moments["m"][i], momentum[i], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_half_precision_parameters_are_updated_in_float32(name: str, jitted: Any) -> None:
    """Only the parameter itself is rounded: in bfloat16 0.999 is 1, and a second moment could only grow."""
    rng = np.random.default_rng(0)
    params, grads = ([rng.normal(size=(3, 2)).astype(ml_dtypes.bfloat16)] for _ in range(2))
    optimizer = optimizers.make(OptimizerSpec(name=name, clip_norm=0.5))
    results = []
    for dtype in ("bfloat16", "float32"):
        tensors = [
            [ops.convert_to_tensor(each.astype(np.float32), dtype) for each in group] for group in (params, grads)
        ]
        moments = {key: [ops.full((3, 2), 0.125, "float32")] for key in optimizer.moments}
        numbers = optimizer.scalars(3, constant(1, 0))
        scalars = {key: ops.convert_to_tensor(np.float32(value)) for key, value in numbers.items()}
        update = jitted(
            lambda params, grads, moments, scalars: optimizer.update(params, grads, moments, [True], scalars)
        )
        [new], moments, norm = update(*tensors, moments, scalars)
        assert keras.backend.standardize_dtype(new.dtype) == dtype
        assert {keras.backend.standardize_dtype(each[0].dtype) for each in moments.values()} == {"float32"}
        results.append([host(new), *(host(each[0]) for each in moments.values()), host(norm)])
    half, full = results
    np.testing.assert_array_equal(half[0], full[0].astype(ml_dtypes.bfloat16).astype(np.float32))
    for one, other in zip(half[1:], full[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_scalars_know_the_step() -> None:
    scalars = optimizers.make(OptimizerSpec()).scalars(3, warmup_cosine(40, 5))
    assert scalars == pytest.approx({"factor": 0.6, "correction1": 1 - 0.9**4, "correction2": 1 - 0.999**4, "count": 4})


@pytest.mark.parametrize(
    ("path", "rank", "expected"),
    [
        ("block1/unit01/conv1/kernel", 4, True),
        ("head/kernel", 2, True),
        ("mixed/depthwise_kernel", 4, True),
        ("head/bias", 1, False),
        ("norm-pre-head/scale", 4, False),
        ("kernel/bias", 1, False),
        ("bn/gamma", 1, False),
        ("body/0/weight", 4, True),
        ("body/1/weight", 1, False),
    ],
)
def test_kernels_decay_and_nothing_else(path: str, rank: int, expected: bool) -> None:
    assert decays(path, rank) == expected


def test_an_unknown_optimizer_names_the_near_one() -> None:
    with pytest.raises(UserError, match=r"optimizer\.name = 'adamv': did you mean 'adamw'"):
        optimizers.make(OptimizerSpec(name="adamv"))

"""A Flax (linen) module by import path, as student and as teacher."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from framework.errors import UserError
from framework.models import catalog, initial
from tests.backends import contract
from tests.backends.tiny import CLASSES, SIZE

pytest.importorskip("flax", reason="Flax is the user's own choice: pip install flax")

MODULE = """
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx


class Net(nn.Module):
    num_classes: int
    rate: float = 0.1

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.8)(x))
        x = nn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


class Plain(nn.Module):
    num_classes: int
    probabilities: bool = False

    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.Dense(self.num_classes)(x.reshape(len(x), -1))
        return nn.softmax(x) if self.probabilities else x + 0.1 * (not deterministic)


def build(num_classes, image_size, rate=0.1):
    return Net(num_classes, rate)


def plain(num_classes, image_size):
    return Plain(num_classes)


def filled(num_classes, image_size):
    net = Plain(num_classes)
    ones = jax.tree.map(jnp.ones_like, net.init(jax.random.key(0), jnp.ones((1, image_size, image_size, 3))))
    return net, ones


def softmax(num_classes, image_size):
    return Plain(num_classes, True)


def maps(num_classes, image_size):
    return nn.Conv(num_classes, (3, 3))


def large(num_classes, image_size):
    return nn.Conv(num_classes, (3, 3, 3, 3))


class Numbered(nn.Module):
    num_classes: int
    number: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(x.reshape(self.number, -1))


def four(num_classes, image_size):
    return Numbered(num_classes, 4)


def empty(num_classes, image_size):
    return Plain(num_classes), {}


class Failing(Plain):
    def __call__(self, x):
        return {}["logits"]


def failing(num_classes, image_size):
    return Failing(num_classes)


def nnx_module(num_classes, image_size):
    return nnx.Linear(3, num_classes, rngs=nnx.Rngs(0))
"""


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flax_nets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def build(function: str = "build", **options: Any) -> Any:
    return catalog.build(f"flax_nets:{function}", options, CLASSES, SIZE, 7)


def views() -> jax.Array:
    return jax.numpy.asarray(np.random.default_rng(0).uniform(-1, 1, (5, SIZE, SIZE, 3)), "float32")


def test_it_learns_and_then_teaches(tiny: Any, tmp_path: Path) -> None:
    own = {"name": "flax_nets:build", "options": {"rate": 0.05}}
    spec = tiny.spec(student=own, teachers=[own])
    weights = contract.learns(tiny, spec)
    contract.teaches_when_stored(tiny, spec, weights, tmp_path / "stored")


def test_names_are_the_modules(tiny: Any) -> None:
    spec = tiny.spec(student={"name": "flax_nets:build"})
    trainer = tiny.trainer(spec)
    assert trainer.names.params == [
        "BatchNorm_0/bias",
        "BatchNorm_0/scale",
        "Conv_0/kernel",
        "head/bias",
        "head/kernel",
    ]
    assert trainer.names.buffers == ["draws", "batch_stats/BatchNorm_0/mean", "batch_stats/BatchNorm_0/var"]
    assert trainer.task.decayed == [False, False, True, False, True]


def test_logits_are_the_modules() -> None:
    model = build()
    arrays = {name: np.array(variable.value) for name, variable in initial.parameters(model).items()}
    tree = {
        "params": {
            "Conv_0": {"kernel": arrays["Conv_0/kernel"]},
            "BatchNorm_0": {"bias": arrays["BatchNorm_0/bias"], "scale": arrays["BatchNorm_0/scale"]},
            "head": {"bias": arrays["head/bias"], "kernel": arrays["head/kernel"]},
        },
        "batch_stats": {
            "BatchNorm_0": {
                "mean": arrays["batch_stats/BatchNorm_0/mean"],
                "var": arrays["batch_stats/BatchNorm_0/var"],
            }
        },
    }
    expected = model._module.apply(tree, views(), train=False)
    np.testing.assert_allclose(model(views()), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(model(views(), training=True)) - expected).max() > 0.01


def test_weights_follow_from_the_seed_or_come_with_the_module() -> None:
    first, second = build(), build()
    other = catalog.build("flax_nets:build", {}, CLASSES, SIZE, 8)
    kernels = [np.array(initial.parameters(each)["head/kernel"].value) for each in (first, second, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    assert (np.array(initial.parameters(build("filled"))["Dense_0/kernel"].value) == 1).all()


def test_the_flag_of_training_may_say_the_opposite() -> None:
    model = build("plain")
    difference = np.asarray(model(views(), training=True)) - np.asarray(model(views()))
    np.testing.assert_allclose(difference, 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("softmax", "gives probabilities, expected logits"),
        ("maps", r"gives \[4, 8, 8, 4\] for 4 images, expected one tensor of logits"),
        ("empty", r"doesn't take views \[B, 8, 8, 3\]: .*the collection is empty"),
        ("failing", r"doesn't take views \[B, 8, 8, 3\]: .*'logits'"),
        ("large", r"doesn't take views \[B, 8, 8, 3\]"),
        ("four", r"takes 4 images, but not one: it must take any number"),
        ("nnx_module", r"received a flax\.nnx.*: a Flax module needs backend=jax, and to be a flax\.linen\.Module"),
    ],
)
def test_mistakes_are_explained(function: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(function)


def test_modules_may_be_handed_over_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As teacher with its variables or without, as student, and what comes back is a module with its variables."""
    from experiments import distill

    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    nets = importlib.import_module("flax_nets")
    spec = {
        "data": {"name": "digits", "train": "train[:20]", "validation": None, "test": None},
        "views": {"size": SIZE},
        "duration": {"total_steps": 2},
        "batch_size": 4,
        "evaluation": {"num_times": 0, "train_subset": 8, "batch_size": 8},
    }
    for teacher in (nets.filled(10, SIZE), nets.Net(10)):
        (module, variables), result = distill(spec, student=nets.Plain(10), teacher=teacher, quiet=True, backend="jax")
        assert isinstance(module, nets.Plain)
        assert np.isfinite(result["train"]["student"]["kl"])
        logits = module.apply(variables, views())
        assert logits.shape == (5, 10)
        assert np.abs(logits).max() > 0
    with pytest.raises(UserError, match="the teacher has 4 outputs, but data 'digits' have 10 classes"):
        distill(spec, teacher=nets.Net(4), quiet=True, backend="jax")

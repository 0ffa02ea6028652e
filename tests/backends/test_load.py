"""Which backend is taken, and what is said where none can be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends.devices import match
from framework.errors import UserError

ROOT = Path(__file__).parents[2]


def test_an_unknown_name_names_the_near_one() -> None:
    with pytest.raises(
        UserError, match=r"backend = 'tensorflw': did you mean 'tensorflow'\? allowed: jax, tensorflow, torch"
    ):
        backends.load("tensorflw")


def test_a_missing_engine_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "absent", "no_such_engine")
    with pytest.raises(UserError, match=r"backend 'absent' is not installed.*pip install .* -e \"\.\[absent\]\""):
        backends.load("absent")


def test_without_a_name_the_first_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    here = backends.installed()
    if here:
        assert backends.choose() == here[0]
    for name in here:
        assert backends.choose(name) == name
        monkeypatch.setitem(backends.BACKENDS, name, "no_such_engine")
    with pytest.raises(UserError, match=r"backend 'jax' is not installed: pip install"):
        backends.choose()


@pytest.mark.backend
def test_a_process_has_one_backend(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "another", "json")
    with pytest.raises(
        UserError, match=f"Keras already runs on '{backend}' in this process: leave backend= out, or start"
    ):
        backends.load("another")
    assert backends.load(backend) is backends.load(backend)


@pytest.mark.backend
def test_an_engine_of_keras_that_trains_nothing_is_told(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    told = "Keras runs on 'numpy' in this process, which trains nothing here: start Python anew with KERAS_BACKEND=jax"
    with pytest.raises(UserError, match=told):
        backends.choose()
    with pytest.raises(UserError, match=f"'numpy' in this process: start .* KERAS_BACKEND={backend} set before"):
        backends.load(backend)


@pytest.mark.backend
def test_loading_chooses_keras_s_engine(backend: str) -> None:
    """Even against what the environment says, and the engine's kernels are installed."""
    other = next(name for name in backends.BACKENDS if name != backend)
    code = f"""
import backends
engine = backends.load({backend!r})
import keras, framework.kernels as kernels
assert keras.config.backend() == engine.name == {backend!r}
assert kernels._installed == dict(engine.kernels)
assert set(engine.versions()) == {{{backend!r}, "keras"}} and all(engine.versions().values())
print("done")
"""
    environment = os.environ | {"KERAS_BACKEND": other}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr[-2000:]


FOUND = ["gpu:0", "gpu:1", "cpu:0"]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [(None, "gpu:0"), ("gpu", "gpu:0"), ("cuda", "gpu:0"), ("cuda:1", "gpu:1"), ("gpu:1", "gpu:1"), ("cpu", "cpu:0")],
)
def test_devices_by_name(wanted: str | None, name: str) -> None:
    assert match(wanted, FOUND) == name


def test_a_missing_device_says_what_there_is() -> None:
    with pytest.raises(UserError, match=r"device = 'tpu' is not here: .*allowed: cpu:0, gpu:0, gpu:1"):
        match("tpu", FOUND)
    with pytest.raises(UserError, match="device = 'gpu:7'"):
        match("gpu:7", FOUND)

"""Somebody else's models in the files of other libraries: what can't be done is refused in a line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import load_student
from experiments.export import main
from framework.files import stored
from framework.files.stored import ModelCard
from framework.models import catalog
from tests.experiments.distillation.small import values_of

# The module of each engine's own library; and what Keras's exporter to ONNX needs more on an engine, with its extra.
OWN = {"torch": "torch_net", "jax": "flax_net"}
EXPORTER = {"jax": ("jax2onnx", "onnx-jax"), "tensorflow": ("tf2onnx", "onnx")}


def student(name: str, folder: Path) -> str:
    """The folder of a stored model that was never trained."""
    path = f"tests.experiments.exporting.models:{name}"
    card = ModelCard(name=path, classes=("a", "b"), num_classes=2, image_size=8)
    stored.save(folder, card, values_of(catalog.build(path, {}, 2, 8, 0)))
    return str(folder)


@pytest.fixture(params=["keras_net", "own"])
def name(request: pytest.FixtureRequest, backend: str) -> str:
    if request.param == "own" and (backend not in OWN or (backend == "jax" and not importlib.util.find_spec("flax"))):
        pytest.skip("this engine has no modules of its own")
    return str(request.param) if request.param != "own" else OWN[backend]


@pytest.mark.parametrize(
    ("form", "suffix"), [("onnx", "onnx"), ("keras", "keras"), ("torch", "pt2"), ("npz", "npz"), ("litert", "tflite")]
)
def test_each_format(
    name: str, form: str, suffix: str, backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = student(name, tmp_path / "stored"), tmp_path / "out" / f"student.{suffix}"
    code = main([folder, "--format", form, "--output", str(output), "--backend", backend])
    lines = capsys.readouterr().err.splitlines()
    refused: Any = {
        "onnx": None,
        "keras": name != "keras_net" and "is no Keras model, and can't become one: --format onnx,",
        "torch": backend != "torch" and "torch",
        "npz": None,
        "litert": backend != "tensorflow" and "tensorflow",
    }[form]
    if refused:
        assert (code, output.exists()) == (2, False), lines
        assert len(lines) <= 2
        assert refused in lines[-1]
        return
    assert code == 0, lines
    if form == "onnx":
        images = [np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)]
        found = [load_student(path).predict(images) for path in (output, folder)]
        np.testing.assert_allclose(*found, atol=1e-5)


def test_what_keras_lacks_is_named_with_its_extra(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if backend not in EXPORTER:
        pytest.skip("on this engine Keras needs no more")
    library, extra = EXPORTER[backend]
    from keras.src.utils import module_utils

    monkeypatch.setitem(sys.modules, library, None)
    # Keras may hold it already.
    monkeypatch.setattr(getattr(module_utils, library), "module", None)
    folder, output = student("keras_net", tmp_path / "stored"), tmp_path / "out" / "student.onnx"
    code = main([folder, "--output", str(output), "--backend", backend])
    lines = capsys.readouterr().err.splitlines()
    assert (code, output.parent.exists()) == (2, False), lines
    assert f'lacks a library: pip install -c constraints.txt -e ".[{extra}]"' in lines[-1]

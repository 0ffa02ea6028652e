"""Models of every kind as student and as teacher: a MobileNet of ours, a file."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from framework.models import mobilenet_v3
from framework.models.mobilenet_v3 import Row
from tests.backends import contract
from tests.backends.tiny import CLASSES, SIZE, Tiny

# One row of each kind: without and with an expansion, squeezing, a stride, a sum.
ROWS = (Row(1, 16, 3, 1, True, "relu"), Row(2, 16, 3, 2, False, "relu"), Row(2, 16, 5, 1, True, "hard_swish"))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_mobilenet_learns_and_then_teaches(
    norm: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mobilenet_v3.VARIANTS, "small", (ROWS, 16))
    own = {"name": "mobilenet_v3", "options": {"variant": "small", "norm": norm, "head_zero_init": False}}
    spec = tiny.spec(student=own)
    weights = contract.learns(tiny, spec)
    assert ("conv_norm/moving_mean" in weights) == (norm == "batch")
    contract.teaches_when_stored(tiny, spec, weights, tmp_path / "stored")


def test_a_file_learns_and_then_teaches(tiny: Tiny, tmp_path: Path) -> None:
    image = keras.Input((SIZE, SIZE, 3))
    hidden = keras.layers.Conv2D(6, 3, strides=2, use_bias=False)(image)
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.8)(hidden))
    logits = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(hidden))
    keras.Model(image, logits).save(tmp_path / "own.keras")
    own = {"name": str(tmp_path / "own.keras"), "options": {}}
    spec = tiny.spec(student=own, teachers=[{"name": "convnet", "options": {"widths": [8]}}])
    weights = contract.learns(tiny, spec)
    contract.teaches_when_stored(tiny, spec, weights, tmp_path / "stored")

"""A step that doesn't fit in memory: the engine's own error becomes a line that helps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Device
from experiments.distillation.memory import fitting, too_little
from experiments.distillation.options import RunOptions
from experiments.planning import estimates
from framework.files.checkpoints import Checkpoints
from framework.models import cost
from framework.spec import DistillSpec
from tests.experiments.conftest import SHORT

pytestmark = pytest.mark.backend
# Its step of 40 examples sorts 281 TB.
HUNGRY = """
import keras
from keras import ops


class Hungry(keras.layers.Layer):
    def call(self, x):
        if x.shape[0] != 40:
            return x
        column = ops.arange(2**23, dtype="float32")[:, None] + ops.sum(x)
        square = ops.broadcast_to(column, (2**23, 2**23))
        return x + 0.0 * ops.stop_gradient(ops.sort(square, axis=0))[0, 0]


def build(num_classes, image_size):
    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Dense(num_classes)(Hungry()(keras.layers.Flatten()(inputs)))
    return keras.Model(inputs, x)
"""


def test_a_run_ends_with_what_takes_less(here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY)
    monkeypatch.syspath_prepend(str(tmp_path))
    done = here.run("-J", "digits_labels", "student={'name': 'hungry:build', 'options': {}}", "batch_size=40", *SHORT)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.search(r"OutOfMemory: .*has no memory for a step of 40 examples: grad_accum_steps=2 makes", last), last
    assert "batch_size=20 would fit by estimate" in last
    assert "remat" not in last  # this student has no blocks that are known
    parted = here.run(
        "-J",
        "digits_labels",
        "student={'name': 'hungry:build', 'options': {}}",
        "batch_size=40",
        *SHORT,
        "grad_accum_steps=2",
    )
    assert parted.returncode == 0, parted.stderr
    # JAX gives the step its state to write into, and may have lost it: that is told.
    if here.backend != "tensorflow" and "no checkpoint" not in last:
        (run,) = [path for path in (here.root / "runs").iterdir() if not (path / "student").exists()]
        state, _, _ = Checkpoints(run / "checkpoints").load()
        assert int(state["step"]) == 0


def test_the_batch_that_fits_follows_from_the_memory() -> None:
    spec = DistillSpec.from_dict({"batch_size": 512, "views": {"size": 32}})
    costs = [cost.of(cost.outline("convnet", {"widths": [64, 64]}, 10, 32))] * 2
    needed = [estimates.memory(replace(spec, batch_size=size), costs[0], costs[1:]).total for size in (100, 101)]
    assert fitting(spec, costs[0], costs[1:], needed[0]) == 100
    assert fitting(spec, costs[0], costs[1:], needed[1] - 1) == 100
    assert fitting(spec, costs[0], costs[1:], 10 * needed[0]) == 256
    assert fitting(spec, costs[0], costs[1:], None, parts=4) == 64
    assert fitting(spec, costs[0], costs[1:], 0) == 1


def test_a_card_that_is_full_is_told_before() -> None:
    spec, options = DistillSpec.from_dict({"batch_size": 512}), RunOptions()
    student, teacher = (cost.outline("convnet", {"widths": [64, 64]}, 10, 32) for _ in range(2))
    device = Device("gpu", "gpu:0", "a card", None, None, memory=10**6)
    line = too_little(spec, options, device, student, [teacher])
    assert re.search(r"^hint: a step needs about \d\.\d GB, and 0\.0 GB are free on a card \(gpu:0\)", line), line
    assert too_little(spec, options, replace(device, memory=10**12), student, [teacher]) == ""
    assert too_little(spec, options, replace(device, memory=None), student, [teacher]) == ""

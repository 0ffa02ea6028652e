"""The step on an accelerator computes what it computes on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.backend

PROBE = """
import sys
import numpy as np
import backends
from framework import data
from framework.draws import views
from framework.draws import order
from framework.models import catalog
from framework.protocols import Batch
from framework.spec import DistillSpec

spec = DistillSpec.from_dict({"views": {"size": 8, "truncate": False}, "batch_size": 16})
backend = backends.load(sys.argv[1])
device = backend.configure(backends.base.Settings(sys.argv[2]))
models = [catalog.build("convnet", {"widths": [8, 16]}, 10, 8, seed) for seed in (0, 1)]
trainer = backend.compile(spec, models[0], models[1:], total_steps=10, device=device)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)
ids, epochs = order.ExampleOrder(16, 16, 0).batch(0)
batch = Batch(images=images[ids], draws=views.draw(spec, 0, ids, epochs, np.full((16, 2), 8)))
probed = trainer.probe(batch)
losses = [float(trainer.step(batch)["loss"]) for _ in range(3)]
np.savez(sys.argv[3], kind=device.kind, losses=losses, **{k.replace("/", "|"): v for k, v in probed.items()})
"""


def has_gpu(backend: str) -> bool:
    """Whether the backend sees a GPU, asked in a process of its own."""
    code = "import sys, backends; backends.load(sys.argv[1]).configure(backends.base.Settings('gpu'))"
    return subprocess.run([sys.executable, "-c", code, backend], capture_output=True, check=False).returncode == 0


@pytest.mark.gpu
def test_gpu_equals_cpu(backend: str, tmp_path: Path) -> None:
    if not has_gpu(backend):
        pytest.skip(f"{backend} sees no GPU on this machine")
    found = {}
    for device in ("cpu", "gpu"):
        path = tmp_path / f"{device}.npz"
        subprocess.run([sys.executable, "-c", PROBE, backend, device, str(path)], check=True)
        found[device] = np.load(path)
    assert str(found["gpu"]["kind"]) == "gpu"
    for name in found["cpu"].files:
        if name != "kind":
            scale = np.abs(found["cpu"][name]).max() + 1e-12
            assert np.abs(found["cpu"][name] - found["gpu"][name]).max() <= 1e-4 * scale, name

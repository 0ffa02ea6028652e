"""The same steps give the same bits, also where `deterministic` has an engine take other algorithms for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.backend
# How each engine says that it was asked.
ASKED = {
    "jax": "'--xla_gpu_deterministic_ops=true' in __import__('os').environ['XLA_FLAGS']",
    "torch": "__import__('torch').are_deterministic_algorithms_enabled()",
    "tensorflow": "__import__('tensorflow.python.framework.config', fromlist=['_']).is_op_determinism_enabled()",
}
TWICE = """
import sys
import numpy as np
import backends
from framework.draws import views
from framework.draws import order
from framework.models import catalog
from framework.protocols import Batch
from framework.spec import DistillSpec

spec = DistillSpec.from_dict({"views": {"size": 16, "truncate": False}, "batch_size": 32})
backend = backends.load(sys.argv[1])
device = backend.configure(backends.base.Settings(sys.argv[2], deterministic=True))
images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)

def run():
    models = [catalog.build("convnet", {"widths": [8, 16]}, 10, 16, seed) for seed in (0, 1)]
    trainer = backend.compile(spec, models[0], models[1:], total_steps=10, device=device)
    for step in range(10):
        ids, epochs = order.ExampleOrder(32, 32, 0).batch(step)
        trainer.step(Batch(images=images[ids], draws=views.draw(spec, step, ids, epochs, np.full((32, 2), 16))))
    return trainer.state()

np.savez(sys.argv[3], **{f"{place}/{name}": array for place in range(2) for name, array in run().items()})
print(device.kind, ASKED)
"""


def same_bits(backend: str, device: str, path: Path) -> str:
    """Run twice, compare, and return what the process says."""
    code = TWICE.replace("ASKED", ASKED[backend])
    done = subprocess.run([sys.executable, "-c", code, backend, device, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(path) as found:
        names = [name.removeprefix("0/") for name in found.files if name.startswith("0/")]
        assert len(names) > 10
        for name in names:
            np.testing.assert_array_equal(found[f"0/{name}"], found[f"1/{name}"], err_msg=name)
    return done.stdout


def test_on_the_cpu(backend: str, tmp_path: Path) -> None:
    assert same_bits(backend, "cpu", tmp_path / "a.npz") == "cpu True\n"


@pytest.mark.gpu
def test_on_a_gpu(backend: str, tmp_path: Path) -> None:
    assert same_bits(backend, "gpu", tmp_path / "a.npz") == "gpu True\n"

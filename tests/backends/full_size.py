"""The paper's teacher at its full size, from a file as it was published, two steps into its student.

    python -m tests.backends.full_size torch legacy

writes a random R152x2 (0.93 GB) in that layout to the temporary folder, distils it into R50x1 at 128 px and prints, as
JSON, seconds and the greatest memory. It is no test, because of what it takes: 6 GB and some minutes.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends.base import Settings

CLASSES, SIZE, BATCH, STEPS = 37, 128, 2, 2
PARTS = {"1": "a", "2": "b", "3": "c"}
ROLES = {"scale": "gamma", "bias": "beta"}
FIXED = {
    "root_block/conv_root/kernel": "root_block/standardized_conv2d/kernel",
    "norm-pre-head/scale": "group_norm/gamma",
    "norm-pre-head/bias": "group_norm/beta",
    "head/kernel": "head/conv2d/kernel",
    "head/bias": "head/conv2d/bias",
}


def legacy_name(name: str) -> str:
    """The name in the legacy layout of one of our parameters."""
    name = FIXED.get(name, name)
    name = re.sub(r"conv_proj/", "a/proj/standardized_conv2d/", name)
    name = re.sub(r"/conv([123])/", lambda found: f"/{PARTS[found[1]]}/standardized_conv2d/", name)
    name = re.sub(r"/gn([123])/(\w+)", lambda found: f"/{PARTS[found[1]]}/group_norm/{ROLES[found[2]]}", name)
    return f"resnet/{name}"


def legacy_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Norms have one axis there, the head is a convolution."""
    if name == "head/kernel":
        return (1, 1, *shape)
    return shape[-1:] if name.endswith(("/scale", "/bias")) else shape


def write(path: Path, layout: str) -> None:
    """Write random weights of the teacher's shapes."""
    from framework.models.bit import bit
    from framework.models.initial import parameters

    shapes = {name: tuple(v.shape) for name, v in parameters(bit(CLASSES, SIZE, depth=152, width=2)).items()}
    generator = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        values = generator.standard_normal(shape, np.float32)
        values /= np.float32(np.sqrt(np.prod(shape[:-1]) or 1)) if name.endswith("kernel") else np.float32(10)
        values += np.float32(name.endswith("scale"))
        old = layout == "legacy"
        arrays[legacy_name(name) if old else name] = values.reshape(legacy_shape(name, shape) if old else shape)
    np.savez(path, **arrays)


def distil(path: Path, name: str) -> dict[str, Any]:
    """Two steps on random images; seconds of each part and gigabytes."""
    from experiments.distillation import teachers
    from experiments.distillation.prepare import build_student
    from framework.draws.views import draw
    from framework.protocols import Batch
    from framework.spec import DistillSpec

    backend = backends.load(name)
    device = backend.configure(Settings("cpu"))
    r152x2 = {"name": "bit", "options": {"depth": 152, "width": 2}, "weights": str(path)}
    student = {"name": "bit", "options": {"depth": 50}}
    views = {"size": SIZE}
    spec = DistillSpec.from_dict({"student": student, "teachers": [r152x2], "views": views, "batch_size": BATCH})
    marks = [("start", time.perf_counter())]
    classes: Any = type("Splits", (), {"classes": tuple(map(str, range(CLASSES))), "name": "random"})
    models = [teacher.model for teacher in teachers.load(spec, classes)]
    marks.append(("teacher", time.perf_counter()))
    built = build_student(spec.student, CLASSES, spec)
    trainer = backend.compile(spec, built, models, total_steps=STEPS, device=device)
    marks.append(("student and trainer", time.perf_counter()))
    images = np.random.default_rng(1).integers(0, 256, (BATCH, 160, 160, 3), np.uint8)
    losses = []
    for step in range(STEPS):
        draws = draw(spec, step, np.arange(BATCH), np.zeros(BATCH, np.int64), np.full((BATCH, 2), 160))
        losses.append(float(trainer.step(Batch(images=images, draws=draws))["loss"]))
        marks.append((f"step {step + 1}", time.perf_counter()))
    seconds = {mark: round(now - before, 1) for (_, before), (mark, now) in itertools.pairwise(marks)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"backend": name, "losses": losses, "seconds": seconds, "peak_gib": round(peak, 2)}


def main(name: str, layout: str) -> None:
    """Write in a process of its own, so that its memory isn't counted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"R152x2_{layout}.npz"
        command = [sys.executable, "-m", "tests.backends.full_size", name, layout, str(path)]
        subprocess.run(command, check=True, env=os.environ)
        gigabytes = round(path.stat().st_size / 1e9, 3)
        print(json.dumps({"layout": layout, "file_gb": gigabytes, **distil(path, name)}))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        backends.load(sys.argv[1])
        write(Path(sys.argv[3]), sys.argv[2])
    else:
        main(*sys.argv[1:])

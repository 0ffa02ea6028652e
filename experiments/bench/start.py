"""Time to the first step, and the most memory that some steps take: of one variant in a process that does nothing else.

The hand-written step is alone with its library: it gets its weights and inputs from a file that `weights` left.
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.sizes import chosen
from experiments.bench.variants import work_of

STEPS = 3
# Ends a part of the start, and names it.
Lap = Callable[[str], None]


def measure(job: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure one variant, `step` or `native`; `weights` writes the file that `native` takes.

    Args:
        job: as in `steps.measure`, with `variant`, `folder` (of the file of weights) and `cache`.
        tell: takes a line on how far it is.

    Returns:
        `import`, `build`, `first`: CPU and wall seconds of each; `peak`: bytes of the process; `memory`: of an
        accelerator, by ours.
    """
    tell(job["variant"])
    laps: dict[str, tuple[float, float]] = {}
    ends = [(time.perf_counter(), time.process_time())]

    def lap(name: str) -> None:
        ends.append((time.perf_counter(), time.process_time()))
        (wall, cpu), (later, used) = ends[-2:]
        laps[name] = (later - wall, used - cpu)

    memory = {"weights": leave, "step": ours, "native": native}[job["variant"]](job, lap)
    return {"seconds": laps, "peak": peak(), "memory": memory}


def ours(job: dict[str, Any], lap: Lap) -> int | None:
    """Our step; the most bytes of an accelerator."""
    from experiments.bench.steps import loaded

    bench = loaded(job)
    lap("import")
    trainer, loader = bench.trainer(), bench.loader()
    lap("build")
    batches = [loader.batch(step) for step in range(2)]
    float(trainer.step(batches[0])["loss"])
    lap("first")
    for number in range(STEPS):
        loss = trainer.step(batches[number % 2])["loss"]
    float(loss)
    return bench.backend.peak_memory(bench.device)


def leave(job: dict[str, Any], _: Lap) -> None:
    """Write the file of weights and inputs; in a process of its own, because it takes memory."""
    from experiments.bench.steps import loaded
    from experiments.bench.variants import native_inputs, weights

    bench = loaded(job)
    loader = bench.loader()
    arrays: dict[str, Any] = {}
    for who, values in zip(("student", "teacher"), weights(bench.spec), strict=True):
        arrays |= {f"{who}:{name}": value for name, value in values.items()}
    for step in range(2):
        arrays |= {f"inputs{step}:{name}": value for name, value in native_inputs(loader.batch(step)).items()}
    np.savez(Path(job["folder"]) / f"{job['size']}.npz", **arrays)


def native(job: dict[str, Any], lap: Lap) -> None:
    """The hand-written step."""
    module = importlib.import_module(f"benchmarks.{job['backend']}")
    device = module.device(None if job["device"] in (None, "cpu") else job["device"], job["threads"] or 1)
    lap("import")
    with np.load(Path(job["folder"]) / f"{job['size']}.npz") as file:
        arrays = dict(file)

    def part(name: str) -> dict[str, Any]:
        return {key.partition(":")[2]: value for key, value in arrays.items() if key.startswith(f"{name}:")}

    step = module.make(work_of(chosen(job).spec), part("student"), part("teacher"), device)
    lap("build")
    inputs = [part("inputs0"), part("inputs1")]
    float(step(inputs[0]))
    lap("first")
    for number in range(STEPS):
        loss = step(inputs[number % 2])
    float(loss)


def peak() -> int:
    """The most memory this process has held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

"""Seconds of a step, for several ways of doing it, in interleaved rounds: what slows the machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import backends
from backends.base import Device, Settings
from experiments.bench.sizes import chosen
from experiments.bench.variants import VARIANTS, Bench, Run, lacking

Tell = Callable[[str], None]


def measure(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Time the variants of a job.

    Args:
        job: `backend`, `size`, `variants`, `rounds`, `threads`, `device`, `precision`, `compile`, `quick`, `cache`,
            `steps`.
        tell: takes a line on how far it is.

    Returns:
        `device`, `versions`, `batch_size`, `losses` (of each variant's first step), `flops` (of a step of each: a
        backward pass counts as two forward passes), `peak` (FLOP/s of a large matrix product), `memory` (the most
        bytes of an accelerator, by all variants) and `timings`: for each variant a list of (wall seconds, CPU
        seconds, seconds waited for data) of a step, one for each round.
    """
    bench = loaded(job)
    runs, losses = {}, {}
    for name in job["variants"]:
        if why := lacking(name, bench):
            tell(f"{name}: left out, {why}")
            continue
        tell(f"{name}: first step")
        runs[name] = VARIANTS[name](bench)
        first = runs[name](1)
        # The loop of the trainer keeps it to itself.
        losses[name] = first if isinstance(first, float) else None
    steps = job["steps"] or bench.size.steps
    timings: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runs}
    for number in range(job["rounds"]):
        tell(f"round {number + 1} of {job['rounds']}")
        for name, run in runs.items():
            timings[name].append(timed(run, steps))
    about = {"device": str(bench.device), "versions": bench.backend.versions(), "batch_size": bench.spec.batch_size}
    flops = {name: bench.flops(taught=name != "supervised") for name in runs}
    about |= {"peak": measured_peak(job["precision"], bench.device), "memory": bench.backend.peak_memory(bench.device)}
    return {**about, "steps": steps, "losses": losses, "flops": flops, "timings": timings}


def measured_peak(precision: str, device: Device) -> float:
    """FLOP/s of a large matrix product in the nets' arithmetic, the best of some tries."""
    from keras import ops

    side, times = (8192, 20) if device.kind != "cpu" else (1024, 2)
    dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    one = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((side, side), np.float32))
    one = ops.cast(one, dtype)
    best = 0.0
    for _ in range(4):
        begun = time.perf_counter()
        for _ in range(times):
            product = ops.matmul(one, one)
        float(ops.cast(product[0, 0], "float32"))
        best = max(best, 2 * side**3 * times / (time.perf_counter() - begun))
    return best


def loaded(job: dict[str, Any]) -> Bench:
    """The backend of a job, configured, with its work."""
    backend = backends.load(job["backend"])
    device = backend.configure(Settings(job["device"], job["threads"], job["precision"], job.get("cache")))
    return Bench(chosen(job), backend, device, job["compile"])


def timed(run: Run, steps: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and seconds waited for data, of one step."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run(steps)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    waited = 0.0
    if isinstance(result, dict):
        # A loop ends with checks that are no part of its steps, but they cost CPU time.
        wall, waited = result["seconds"], result["waited"]
    return wall / steps, cpu / steps, waited / steps

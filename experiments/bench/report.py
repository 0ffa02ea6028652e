"""What the bench prints: medians, ratios and bars, and the plot of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from experiments.parity.report import aligned
from experiments.tracking.machine import cpu

WALL, CPU, WAITED = range(3)
# The ratios that are asked for: of the second's time to the first's, so that more is faster.
RATIOS = ("step/native", "trainer/step", "trainer/distiller")
_CLOCKS = {"wall": WALL, "cpu": CPU}
_STEP = ["size", "backend", "variant", "wall ms", "CPU ms", "spread", "images/s", "waited", "GFLOP/s", "of peak"]
Found = Mapping[str, Any]
# A size, a backend and a variant.
Key = tuple[str, str, str]


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "processor": cpu(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def medians(found: Found) -> dict[Key, float]:
    """The median seconds of a step by (size, backend, variant), by the clock of the run."""
    which = _CLOCKS[found["clock"]]
    return {
        (job["size"], job["backend"], variant): median(timing[which] for timing in timings)
        for job in found["jobs"]
        if job["kind"] == "steps"
        for variant, timings in job["result"]["timings"].items()
    }


def tables(found: Found, against: Found | None = None) -> str:
    """All tables of a run, as text: those of which something was measured."""
    parts = [steps_table(found, against), ratios_table(found)]
    for kind, (head, row) in _TABLES.items():
        rows = [row(job, job["result"]) for job in found["jobs"] if job["kind"] == kind]
        parts.append(aligned([head, *rows]) if rows else "")
    return "\n\n".join(part for part in parts if part)


def steps_table(found: Found, against: Found | None) -> str:
    """Milliseconds of each variant's step; `against` adds what an earlier run's median was divided by this one's."""
    before = medians(against) if against else {}
    rows = [[*_STEP, *(["speed vs before"] if before else [])]]
    for job in found["jobs"]:
        if job["kind"] == "steps":
            peak = found["peak"] * 1e12 if found.get("peak") else job["result"]["peak"]
            rows += [_step(job, variant, _CLOCKS[found["clock"]], peak, before) for variant in job["result"]["timings"]]
    return aligned(rows) if len(rows) > 1 else ""


def _step(job: Found, variant: str, clock: int, peak: float, before: Mapping[Key, float]) -> list[str]:
    key, result, timings = (job["size"], job["backend"], variant), job["result"], job["result"]["timings"][variant]
    wall, cpus, waited = (median(timing[which] for timing in timings) for which in (WALL, CPU, WAITED))
    seconds, speed = (wall, cpus)[clock], result["flops"][variant] / wall
    return [
        *key,
        f"{wall * 1e3:.2f}",
        f"{cpus * 1e3:.2f}",
        spread([timing[clock] for timing in timings]),
        f"{result['batch_size'] / seconds:.1f}",
        f"{waited / wall:.1%}" if variant == "trainer" else "",
        f"{speed / 1e9:.0f}",
        f"{speed / peak:.1%}",
        *([f"{before[key] / seconds:.3f}" if key in before else ""] if before else []),
    ]


def spread(values: Sequence[float]) -> str:
    """Half of the range, relative to the median."""
    return f"±{(max(values) - min(values)) / 2 / median(values):.0%}"


def ratios_table(found: Found) -> str:
    """How fast one variant is relative to another: medians of this run."""
    seconds = medians(found)
    places = dict.fromkeys((size, backend) for size, backend, _ in seconds)
    rows = [["size", "backend", *RATIOS, "distilling costs"]]
    for place in places:
        speeds = [_ratio(seconds, place, *reversed(name.split("/"))) for name in RATIOS]
        costs = _ratio(seconds, place, "step", "supervised")
        rows.append([*place, *speeds, costs and f"{costs} x"])
    return f"speed by {found['clock']} time, medians\n" + aligned(rows) if len(rows) > 1 else ""


def _ratio(seconds: Mapping[Key, float], place: tuple[str, str], one: str, other: str) -> str:
    """Of one variant's time to another's; empty where one of them wasn't measured."""
    known = (*place, one) in seconds and (*place, other) in seconds
    return f"{seconds[*place, one] / seconds[*place, other]:.2f}" if known else ""


def _million(job: Found, result: Found) -> list[str]:
    minutes, steps = f"{median(result['seconds']) / 60:.1f} min", f"{result['steps']:,}"
    row = [job["size"], job["backend"], result["device"], minutes, spread(result["seconds"]), steps]
    return [*row, megabytes(result["memory"])]


def _start(job: Found, result: Found) -> list[str]:
    """Seconds to the first step, and memory."""
    laps, cache = result["seconds"], "" if job["variant"] == "native" else "filled" if job["warm"] else "empty"
    walls = [f"{laps[name][WALL]:.2f}" for name in ("import", "build", "first")]
    memory = [megabytes(result["peak"]), megabytes(result.get("memory"))]
    cpus = f"{sum(lap[CPU] for lap in laps.values()):.1f}"
    return [job["size"], job["backend"], job["variant"], cache, *walls, cpus, *memory]


def _loaders(job: Found, result: Found) -> list[str]:
    speeds = [f"{median(result[name]):.0f}" if result[name] else "" for name in ("wall", "cpu")]
    return [job["mode"], job["peer"], *speeds, result["note"]]


def megabytes(memory: int | None) -> str:
    """Of an accelerator; empty where a library doesn't say."""
    return "" if memory is None else f"{memory / 2**20:.0f}"


# By the kind of a job its table's head, and what makes a row of it and its result.
_TABLES: Mapping[str, tuple[list[str], Callable[[Found, Found], list[str]]]] = {
    "million": (["size", "backend", "device", "a million steps", "spread", "of so many", "device MB"], _million),
    "start": (
        ["size", "backend", "variant", "cache", "import s", "build s", "first step s", "CPU s", "peak MB", "device MB"],
        _start,
    ),
    "loaders": (["images", "loader", "images/s", "images/CPU-s", "note"], _loaders),
}


def plot(found: Found, path: Path) -> None:
    """Draw each variant's speed relative to the hand-written step, one panel a size."""
    from matplotlib.figure import Figure

    seconds = medians(found)
    sizes = list(dict.fromkeys(size for size, _, _ in seconds))
    variants = list(dict.fromkeys(variant for *_, variant in seconds))
    figure = Figure(figsize=(4 * max(1, len(sizes)) + 1, 3.2), layout="constrained")
    for place, size in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), place + 1)
        names = list(dict.fromkeys(backend for known, backend, _ in seconds if known == size))
        for number, variant in enumerate(variants):
            base = [seconds.get((size, name, "native"), float("nan")) for name in names]
            own = [seconds.get((size, name, variant), float("nan")) for name in names]
            left = [index + 0.8 * number / len(variants) for index in range(len(names))]
            axes.bar(left, [b / o for b, o in zip(base, own, strict=True)], 0.8 / len(variants), label=variant)
        axes.set_xticks([index + 0.4 - 0.4 / len(variants) for index in range(len(names))], names)
        axes.axhline(1.0, color="gray", linewidth=0.8)
        axes.set_title(size)
    figure.axes[0].set_ylabel("speed (step by hand = 1)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=120)

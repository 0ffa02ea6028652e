"""The views of one spec on several backends, held against each other by their SHA-256."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from experiments.parity.compare import PIXELS, Result
from experiments.parity.processes import Bar, Job, run
from experiments.parity.report import aligned
from experiments.sheets.worker import WORKER
from framework.spec import DistillSpec

# In float64 the views must be equal; in float32, as in a run, they must be near.
PRECISIONS = ("float64", "float32")


@dataclass(frozen=True)
class Views:
    """The views of one kind at one step on one backend, held against the first one's.

    Attributes:
        step: its number.
        who: whose views; `draws` for what was random.
        backend, precision: where and how they were computed.
        equal, count: how many are equal, of how many.
        difference: the largest of pixels in [-1, 1], over the few examples whose pixels are kept.
    """

    step: int
    who: str
    backend: str
    precision: str
    equal: int
    count: int
    difference: float

    @property
    def ok(self) -> bool:
        """Whether this is near enough: equal in float64, and draws always."""
        exact = self.precision == PRECISIONS[0] or self.who == "draws"
        return self.equal == self.count if exact else self.difference <= PIXELS

    @property
    def cell(self) -> str:
        if self.equal == self.count:
            return "equal"
        apart = f", by {self.difference:.1g}" if self.difference else ""
        return f"{self.count - self.equal} of {self.count} differ{apart}" + ("" if self.ok else " FAILS")


def gather(
    spec: DistillSpec, backends: Sequence[str], steps: Sequence[int], cache: Path, at_a_time: int
) -> Mapping[tuple[str, str], Result]:
    """Let each backend render the views, in a process for each precision; the results by (backend, precision).

    Raises:
        UserError, WorkerFault: as `experiments.parity.processes.run`.
    """
    with tempfile.TemporaryDirectory(prefix="views-") as folder:
        jobs = []
        for precision in PRECISIONS:
            exact = {**spec.to_dict(), "precision": precision}
            settings = {"spec": exact, "steps": list(steps), "cache": str(cache)}
            jobs += [Job(name, precision, settings, Path(folder) / f"{name}-{precision}", WORKER) for name in backends]
        with Bar(len(jobs) * len(steps)) as progress:
            return run(jobs, at_a_time, progress.watch)


def compared(results: Mapping[tuple[str, str], Result], backends: Sequence[str]) -> list[Views]:
    """Every backend but the first against the first."""
    first, *others = backends
    found = []
    for precision in PRECISIONS:
        base = results[first, precision]
        for name in _compared(base):
            found += [_held(name, base, results[other, precision], other, precision) for other in others]
    return found


def _compared(result: Result) -> list[str]:
    return [name for name in result if not name.endswith("/pixels")]


def _held(name: str, base: Result, other: Result, backend: str, precision: str) -> Views:
    step, *view = name.split("/")
    own, theirs = np.atleast_1d(base[name]), np.atleast_1d(other[name])
    difference = 0.0
    if view != ["draws"]:
        pixels = (each[name.replace("digests", "pixels")].astype(np.float64) for each in (base, other))
        difference = float(np.abs(next(pixels) - next(pixels)).max())
    who = view[0] if view == ["draws"] else "student" if view[0] == "0" else f"teacher {view[0]}"
    return Views(int(step), who, backend, precision, int((own == theirs).sum()), len(own), difference)


def table(found: Sequence[Views], results: Mapping[tuple[str, str], Result], backends: Sequence[str]) -> str:
    """What was `compared`, a table for each precision."""
    first, *others = backends
    remaining, tables = iter(found), []
    for precision in PRECISIONS:
        rows, base = [[precision, first, *others]], results[first, precision]
        for name in _compared(base):
            line = list(islice(remaining, len(others)))
            value = np.atleast_1d(base[name])[0]
            rows.append([f"step {line[0].step}, {line[0].who}", f"{value[:16]}...", *(each.cell for each in line)])
        tables.append(aligned(rows))
    return "\n\n".join(tables)

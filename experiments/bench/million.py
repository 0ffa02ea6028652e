"""Seconds of a million steps, from some thousand: of the whole trainer, with its loop, loader, journal and metrics."""

from __future__ import annotations

from typing import Any

from experiments.bench.steps import Tell, loaded, timed
from experiments.bench.variants import whole

MILLION = 1_000_000
# Steps that are done before the timing, and in each round of it.
_BEFORE, _STEPS, _QUICK = 200, 2_000, 4


def measure(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Time the trainer.

    Args:
        job: as in `experiments.bench.steps.measure`.
        tell: takes a line on how far it is.

    Returns:
        `device`, `steps` (of a round), `seconds` (of a million, by each round) and `memory`.
    """
    bench = loaded(job)
    steps = job["steps"] or (_QUICK if job["quick"] else _STEPS)
    run, seconds = whole(bench, log_every=max(1, steps // 4)), []
    tell("first steps")
    run(min(_BEFORE, steps))
    for number in range(job["rounds"]):
        tell(f"round {number + 1} of {job['rounds']}")
        seconds.append(MILLION * timed(run, steps)[0])
    memory = bench.backend.peak_memory(bench.device)
    return {"device": str(bench.device), "steps": steps, "seconds": seconds, "memory": memory}

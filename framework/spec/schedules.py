"""The learning rate's course as a factor of its peak: factories that return `step -> factor`.

Plain float arithmetic on the host: the factor goes into the compiled step as a scalar, the same on every backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from framework.errors import UserError, near, some
from framework.spec import ExtensionSpec, ScheduleSpec

Schedule = Callable[[int], float]


def warmup_cosine(total_steps: int, warmup_steps: int) -> Schedule:
    """Linear warm-up, then half a cosine to 0 (the authors' `cosine` schedule).

    factor(k) = 0.5 (1 + cos(pi clip((k - w) / (total - w), 0, 1))) min(1, k / w), with k updates done before: with a
    warm-up, the first update has factor 0.

    Args:
        total_steps: steps of the whole run.
        warmup_steps: w.

    Returns:
        A function from the number of updates done to a factor in [0, 1].
    """

    def factor(step: int) -> float:
        share = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))
        return cosine * min(1.0, step / warmup_steps) if warmup_steps else cosine

    return factor


def constant(total_steps: int, warmup_steps: int) -> Schedule:
    """Linear warm-up, then 1 for ever; arguments as in `warmup_cosine`, `total_steps` is not used."""
    del total_steps
    return lambda step: min(1.0, step / warmup_steps) if warmup_steps else 1.0


def staircase(total_steps: int, warmup_steps: int) -> Schedule:
    """Linear warm-up, then a tenth after each of 30, 60 and 90 % of the steps (BiT's fine-tuning rule).

    Arguments as in `warmup_cosine`. Reference: Kolesnikov et al., Big Transfer (arXiv 1912.11370), section 3.3.
    """
    falls = [share * total_steps / 10 for share in (3, 6, 9)]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        return 0.1 ** sum(step >= fall for fall in falls)

    return factor


SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {
    "cosine": warmup_cosine,
    "constant": constant,
    "staircase": staircase,
}
# Those whose course up to a step doesn't depend on how many follow: a run may be made longer after it has begun.
EXTENDABLE = ("constant",)


def make(spec: ScheduleSpec, total_steps: int) -> Schedule:
    """The schedule of a spec, extensions included.

    Raises:
        UserError: for an unknown name, or a warm-up that does not end within the run.
    """
    ends = [*(each.before for each in spec.extensions), total_steps]
    schedule = _whole(spec, ends[0])
    for extension, end in zip(spec.extensions, ends[1:], strict=True):
        schedule = _then(schedule, extension.at, _extended(spec, extension, end - extension.at))
    return schedule


def _whole(spec: ScheduleSpec, steps: int) -> Schedule:
    if spec.name not in SCHEDULES:
        raise UserError(f"schedule.name = {spec.name!r}: {near(spec.name, SCHEDULES)}")
    if spec.warmup_steps >= steps and spec.warmup_steps > 0:
        raise UserError(
            f"schedule.warmup_steps = {spec.warmup_steps}: the run has only {some(steps, 'step', 'steps')} for it"
        )
    return SCHEDULES[spec.name](steps, spec.warmup_steps)


def _extended(spec: ScheduleSpec, extension: ExtensionSpec, steps: int) -> Schedule:
    """The course of an extension by the updates done since it began."""
    if extension.how == "restart":
        return _whole(spec, steps)
    course = {"cosine": warmup_cosine, "constant": constant}[extension.how](steps, 0)
    return lambda step: extension.level * course(step)


def _then(first: Schedule, at: int, rest: Schedule) -> Schedule:
    return lambda step: first(step) if step < at else rest(step - at)

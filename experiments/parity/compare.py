"""How far two backends' results are apart, and how far they may be. Plain numpy.

Differences are relative to the largest value of each array, so that neither a tiny parameter nor a huge one decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framework.protocols import Array

Result = Mapping[str, Array]
PIXELS = 1e-5  # of views in [-1, 1]: a five-hundredth of a grey level
SHARES = ("accuracy", "agreement@1", "agreement@5")  # metrics that are counts of examples


@dataclass(frozen=True)
class Tolerances:
    """The largest differences that pass; None where there is nothing to hold to.

    Attributes:
        loss, gradient: at step 0. weights, moments: after one step.
        drift, end: loss over all steps and weights after them, likewise kl and loss of the evaluation.
        shares: of accuracy and agreement, absolute.
        each: whether weights and gradients are held array by array, or in global L2.
    """

    loss: float
    gradient: float
    weights: float | None
    moments: float | None
    drift: float
    end: float
    shares: float
    each: bool


# One step in float32 differs by roundings; what 50 steps make of them says little about single weights.
FLOAT32 = Tolerances(1e-4, 1e-5, None, None, drift=1e-2, end=1e-2, shares=0.02, each=False)
FLOAT64 = Tolerances(1e-11, 1e-11, 1e-11, 1e-11, drift=1e-9, end=1e-9, shares=1e-9, each=True)
# A moment that is stored with 8 bits may be rounded to either side, which then grows like any rounding.
FLOAT64_BFLOAT16 = Tolerances(1e-11, 1e-11, 1e-11, 2**-7, drift=1e-2, end=1e-2, shares=0.02, each=True)


def tolerances(precision: str, moment_dtype: str) -> Tolerances:
    """What a spec's precision (`float32` or `float64`) and its stored moments are held to."""
    if precision == "float32":
        return FLOAT32
    return FLOAT64 if moment_dtype == "float32" else FLOAT64_BFLOAT16


@dataclass(frozen=True)
class Check:
    """One compared quantity.

    Attributes:
        quantity: its name.
        difference: how far the two are apart.
        tolerance: how far they may be; None for what is only shown.
    """

    quantity: str
    difference: float
    tolerance: float | None

    @property
    def ok(self) -> bool:
        """Whether it passes; a NaN never does."""
        return self.tolerance is None or self.difference <= self.tolerance


def compare(base: Result, other: Result, limits: Tolerances) -> list[Check]:
    """Hold one result against another.

    Args:
        base, other: what `measure` gave.
        limits: the tolerances.

    Returns:
        The checks, in the order of a step.
    """
    apart = distance if limits.each else global_distance
    steps = len(base["loss"])
    draws = base["draws"] != other["draws"] if len(other["loss"]) == steps else np.ones(steps)
    checks = [
        Check("draws", float(np.sum(draws)), 0.0),
        Check("pixels", _pixels(base, other), PIXELS),
        Check("loss at step 0", relative(base["probe0/loss"], other["probe0/loss"]), limits.loss),
        Check("gradient at step 0", apart(base, other, "probe0/gradient/"), limits.gradient),
        Check("weights after 1 step", apart(base, other, "state1/student/"), limits.weights),
    ]
    if any(name.startswith("state1/optimizer/") for name in base):
        checks.append(Check("moments after 1 step", apart(base, other, "state1/optimizer/"), limits.moments))
    checks += [
        Check(f"loss over {steps} steps", _drift(base["loss"], other["loss"]), limits.drift),
        Check(f"weights after {steps} steps", apart(base, other, "end/student/"), limits.end),
    ]
    return checks + [_metric(name, base, other, limits) for name in base if name.startswith("evaluation/")]


def relative(base: Array, other: Array) -> float:
    """The largest difference of two arrays, relative to the largest absolute value in either; NaN if any is.

    Args:
        base, other: of one shape.
    """
    if base.shape != other.shape:
        return float("inf")
    base, other = base.astype(np.float64), other.astype(np.float64)
    apart = np.max(np.abs(base - other), initial=0.0)
    scale = max(np.max(np.abs(base), initial=0.0), np.max(np.abs(other), initial=0.0))
    return 0.0 if apart == 0.0 else float(apart / scale)


def distance(base: Result, other: Result, prefix: str) -> float:
    """The largest `relative` difference over the arrays with this prefix; infinite where names differ."""
    names = _names(base, other, prefix)
    return float(np.max([relative(base[name], other[name]) for name in names])) if names else float("inf")


def global_distance(base: Result, other: Result, prefix: str) -> float:
    """The L2 norm of the difference over all arrays with this prefix, relative to the base's norm."""
    names = _names(base, other, prefix)
    if not names or any(base[name].shape != other[name].shape for name in names):
        return float("inf")
    first, second = (
        np.concatenate([each[name].ravel().astype(np.float64) for name in names]) for each in (base, other)
    )
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))


def _names(base: Result, other: Result, prefix: str) -> list[str]:
    names = {name for name in base if name.startswith(prefix)}
    return sorted(names) if names == {name for name in other if name.startswith(prefix)} else []


def _pixels(base: Result, other: Result) -> float:
    views = [name for name in base if name.startswith("probe") and "/view." in name]
    if any(name not in other or base[name].shape != other[name].shape for name in views):
        return float("inf")
    return float(np.max([np.max(np.abs(base[name].astype(np.float64) - other[name])) for name in views]))


def _drift(base: Array, other: Array) -> float:
    """The largest difference of two loss curves, step by step, relative to the step's own loss."""
    return float(np.max(np.abs(base - other) / np.abs(base))) if len(base) == len(other) else float("inf")


def _metric(name: str, base: Result, other: Result, limits: Tolerances) -> Check:
    quantity = name.removeprefix("evaluation/")
    if quantity.rpartition(".")[2] in SHARES:
        return Check(quantity, float(abs(base[name] - other.get(name, np.nan))), limits.shares)
    return Check(quantity, relative(base[name], other.get(name, np.array(np.nan))), limits.end)

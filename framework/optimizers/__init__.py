"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from framework.optimizers.adamw import AdamW
from framework.optimizers.base import Optimizer
from framework.optimizers.sgd import SGD
from framework.spec import OptimizerSpec
from framework.spec.named import find

OPTIMIZERS: Mapping[str, Callable[[OptimizerSpec], Optimizer]] = {"adamw": AdamW, "sgd": SGD}


def make(spec: OptimizerSpec) -> Optimizer:
    """The optimizer of a spec.

    Raises:
        UserError: for an unknown name.
    """
    return find(spec.name, OPTIMIZERS, "optimizer.name")(spec)

"""Evaluations of a run: which splits are measured, and what the results are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from framework.data.loader import EvalBatches
from framework.data.source import Splits
from framework.protocols import Trainer
from framework.spec import DistillSpec


class Evaluator:
    """Measures student and teachers on the splits.

    Args:
        spec: the distillation.
        splits: its data.
        trainer: has the models.
    """

    def __init__(self, spec: DistillSpec, splits: Splits, trainer: Trainer) -> None:
        self.trainer = trainer
        subset = spec.evaluation.train_subset
        self.batches: dict[str, EvalBatches] = {}
        if subset:
            self.batches["train"] = EvalBatches(spec, splits.train, subset)
        for name, source in (("validation", splits.validation), ("test", splits.test)):
            if source is not None:
                self.batches[name] = EvalBatches(spec, source)

    def measure(self, names: Iterable[str] | None = None) -> dict[str, float]:
        """Evaluate some splits, or all of them.

        Returns:
            Flat names, `"validation.student.accuracy"`.
        """
        wanted = self.batches if names is None else [name for name in names if name in self.batches]
        return {
            f"{split}.{metric}": value
            for split in wanted
            for metric, value in self.trainer.evaluate(self.batches[split]).items()
        }


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """From dotted names to nested dicts: {"a.b": 1} to {"a": {"b": 1}}."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        place = result
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return result

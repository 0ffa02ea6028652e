"""Evaluations of a run: which splits are measured, and what the results are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from framework.data.loader import EvalBatches
from framework.data.source import Splits
from framework.errors import UserError
from framework.inputs import all_views
from framework.protocols import Array, Batch, EvalBatch, Trainer
from framework.spec import DistillSpec
from framework.world import World

# The teachers' logits of a split are kept up to so many bytes.
_KEPT_BYTES = 512 * 2**20


def evaluation_batches(
    spec: DistillSpec,
    splits: Splits,
    world: World = World(),  # noqa: B008 - frozen
) -> dict[str, EvalBatches]:
    """The batches of each split that is evaluated, by its name; they may be shared, and are this process's own.

    Raises:
        UserError: `evaluation.splits` names one that there isn't.
    """
    made: dict[str, EvalBatches] = {}
    if spec.evaluation.train_subset:
        made["train"] = EvalBatches(spec, splits.train, spec.evaluation.train_subset, world)
    for name, source in (("validation", splits.validation), ("test", splits.test)):
        if source is not None:
            made[name] = EvalBatches(spec, source, world=world)
    # Data without a validation split are common, and told of where they are opened.
    for name in {*spec.evaluation.splits} - {*made, "validation"}:
        missing = "evaluation.train_subset is 0" if name == "train" else f"the data have no {name} split"
        raise UserError(f"evaluation.splits = {list(spec.evaluation.splits)}: {missing}")
    return made


class Evaluator:
    """Measures student and teachers on the splits.

    Args:
        spec: the distillation.
        batches: of its data, as `evaluation_batches` makes them.
        trainer: has the models.
    """

    def __init__(self, spec: DistillSpec, batches: Mapping[str, EvalBatches], trainer: Trainer) -> None:
        self.spec, self.batches, self.trainer = spec, batches, trainer
        self._targets: dict[str, list[tuple[Array, ...]] | None] = {}

    def evaluate(self, names: Iterable[str] | None = None) -> dict[str, float]:
        """Evaluate some splits, or all of them.

        Returns:
            Flat names, `"validation.student.accuracy"`.
        """
        wanted = self.batches if names is None else [name for name in names if name in self.batches]
        return {
            f"{split}.{metric}": value
            for split in wanted
            for metric, value in self.trainer.evaluate(self._taught(split)).items()
        }

    def along_the_way(self) -> dict[str, float]:
        """Evaluate `evaluation.splits`, as in `evaluate`."""
        return self.evaluate(self.spec.evaluation.splits)

    def answers(self, split: str) -> dict[str, Array]:
        """What student and teacher say of each example of a split, an array of [N] each.

        Args:
            split: one that is evaluated.

        Returns:
            `ids` (int64, in the split), `labels` (int32, -1 without one), and those of `framework.evaluation.answers`.
        """
        batches = self.batches[split].whole()
        if batches is not self.batches[split]:
            return Evaluator(self.spec, {split: batches}, self.trainer).answers(split)
        labels = batches.source.labels(batches.ids)
        labels = np.full(len(batches.ids), -1, np.int32) if labels is None else labels
        return {"ids": batches.ids, "labels": labels, **self.trainer.answers(self._taught(split))}

    def _taught(self, split: str) -> Iterable[EvalBatch]:
        """A split's batches with the teachers' logits, which are computed once: teachers don't change."""
        if split not in self._targets:
            made = (
                tuple(self.trainer.teach(Batch(views=all_views(batch, self.spec)))) for batch in self.batches[split]
            )
            self._targets[split] = self._fitting(made) if self.spec.teachers else None
        targets = self._targets[split]
        if targets is None:
            return self.batches[split]
        return (replace(batch, targets=each) for batch, each in zip(self.batches[split], targets, strict=True))

    def _fitting(self, made: Iterable[tuple[Array, ...]]) -> list[tuple[Array, ...]] | None:
        """All of them, or None as soon as they take more memory than they may."""
        kept, size = [], 0
        for targets in made:
            kept.append(targets)
            size += sum(each.nbytes for each in targets)
            if size > _KEPT_BYTES:
                return None
        return kept


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

"""Teachers in reduced precision, held against themselves in the precision of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.distillation.teachers import Teacher, build, seen
from experiments.distillation.telling import Tell
from framework.data.source import Splits
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from keras import Model


def compared(
    spec: DistillSpec, found: Sequence[Teacher], splits: Splits, root: Path, tell: Tell
) -> tuple[Teacher, ...]:
    """The teachers with their `agreement`: what a precision of their own changes on the validation split.

    Without such a split it is measured on the training's.

    Returns:
        The same with `agreement@1` in [0, 1] and the mean `kl` of the two softmaxes at temperature 1; {} for one
        that computes as the run does.
    """
    return tuple(replace(each, agreement=_agreement(spec, each, splits, root, tell)) for each in found)


def _agreement(spec: DistillSpec, teacher: Teacher, splits: Splits, root: Path, tell: Tell) -> dict[str, float]:
    if teacher.spec.precision in (None, spec.precision):
        return {}
    exact = replace(teacher.spec, precision=None)
    twin = build(exact, teacher.size, teacher.folder, spec.seed, splits, root)
    found = _compared(spec, teacher, twin, splits)
    numbers = f"agreement@1 {found['agreement@1']:.2%}, KL {found['kl']:.2g}"
    tell(f"the teacher {exact.name!r} in {teacher.spec.precision}, against itself in {spec.precision}: {numbers}")
    return found


def _compared(spec: DistillSpec, teacher: Teacher, twin: Model, splits: Splits) -> dict[str, float]:
    from keras import ops
    from scipy.special import log_softmax

    from framework.views import normalize

    equal, kl, count = 0.0, 0.0, 0
    for views, _ in seen(spec, teacher, splits.validation or splits.train):
        shown = np.asarray(ops.convert_to_numpy(normalize(ops.convert_to_tensor(views), teacher.spec.normalize)))
        answers = [np.asarray(each.predict_on_batch(shown), float) for each in (teacher.model, twin)]
        own, other = (log_softmax(logits, -1) for logits in answers)
        equal += float((own.argmax(-1) == other.argmax(-1)).sum())
        kl += float((np.exp(other) * (other - own)).sum())
        count += len(views)
    return {"agreement@1": equal / count, "kl": kl / count}

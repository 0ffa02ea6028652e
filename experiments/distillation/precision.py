"""Teachers in reduced precision, held against themselves in the precision of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.distillation.teachers import Teacher, build
from framework.data.source import Splits
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from keras import Model


def compared(
    spec: DistillSpec, found: Sequence[Teacher], splits: Splits, root: Path, tell: Callable[[str], None]
) -> tuple[Teacher, ...]:
    """The teachers with their `agreement`: what a precision of their own changes on the validation split.

    Without such a split it is measured on the training's.

    Args:
        spec: the distillation.
        found: its teachers, as they teach.
        splits: the data.
        root: the folder of caches.
        tell: takes a line on each.

    Returns:
        The same with `agreement@1` in [0, 1] and the mean `kl` of the two softmaxes at temperature 1; {} for one
        that computes as the run does.
    """
    return tuple(replace(each, agreement=_agreement(spec, each, splits, root, tell)) for each in found)


def _agreement(
    spec: DistillSpec, teacher: Teacher, splits: Splits, root: Path, tell: Callable[[str], None]
) -> dict[str, float]:
    if teacher.spec.precision in (None, spec.precision):
        return {}
    exact = replace(teacher.spec, precision=None)
    twin = build(exact, teacher.size, teacher.folder, spec.seed, splits, root)
    views = replace(spec.views, teacher_size=teacher.size)
    found = _compared(teacher.model, twin, replace(spec, teachers=(exact,), views=views), splits)
    numbers = f"agreement@1 {found['agreement@1']:.2%}, KL {found['kl']:.2g}"
    tell(f"the teacher {exact.name!r} in {teacher.spec.precision}, against itself in {spec.precision}: {numbers}")
    return found


def _compared(model: Model, twin: Model, spec: DistillSpec, splits: Splits) -> dict[str, float]:
    from scipy.special import log_softmax

    equal, kl, count = 0.0, 0.0, 0
    for views in _views(spec, splits):
        own, other = (log_softmax(np.asarray(each.predict_on_batch(views), float), -1) for each in (model, twin))
        equal += float((own.argmax(-1) == other.argmax(-1)).sum())
        kl += float((np.exp(other) * (other - own)).sum())
        count += len(views)
    return {"agreement@1": equal / count, "kl": kl / count}


def _views(spec: DistillSpec, splits: Splits) -> Iterator[np.ndarray]:
    """What the teacher of a spec of one sees of each image in evaluation, without padding, in its own input range."""
    from keras import ops

    from framework.data.loader import EvalBatches
    from framework.views import normalize

    for batch in EvalBatches(spec, splits.validation or splits.train):
        [view] = batch.teacher_views or (batch.views,)
        shown = normalize(ops.convert_to_tensor(view[batch.mask > 0]), spec.teachers[0].normalize)
        yield np.asarray(ops.convert_to_numpy(shown))

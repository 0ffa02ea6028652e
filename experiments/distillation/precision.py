"""Teachers in reduced precision, held against themselves in the precision of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.distillation import teachers
from framework.data.source import Splits
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from keras import Model


def agreements(
    spec: DistillSpec,
    models: Sequence[Model],
    folders: Sequence[Path | None],
    splits: Splits,
    root: Path,
    tell: Callable[[str], None] = lambda line: None,
) -> list[dict[str, float]]:
    """For each teacher with a precision of its own, what that changes on the validation split (else on the training's).

    Args:
        spec: the distillation.
        models: its teachers, as they teach.
        folders: where they are stored.
        splits: the data.
        root: the folder of caches.
        tell: takes a line on each.

    Returns:
        For each teacher `agreement@1` in [0, 1] and the mean `kl` of the two softmaxes at temperature 1; {} for one
        that computes as the run does.
    """
    found: list[dict[str, float]] = []
    for place, (teacher, model) in enumerate(zip(spec.teachers, models, strict=True)):
        if teacher.precision in (None, spec.precision):
            found.append({})
            continue
        alone = replace(
            spec,
            teachers=(replace(teacher, precision=None),),
            views=replace(spec.views, teacher_size=spec.teacher_sizes[place]),
        )
        [twin] = teachers.build_all(alone, [folders[place]], splits, root)
        found.append(_compared(model, twin, alone, splits))
        numbers = f"agreement@1 {found[-1]['agreement@1']:.2%}, KL {found[-1]['kl']:.2g}"
        tell(f"the teacher {teacher.name!r} in {teacher.precision}, against itself in {spec.precision}: {numbers}")
    return found


def _compared(model: Model, twin: Model, spec: DistillSpec, splits: Splits) -> dict[str, float]:
    equal, kl, count = 0.0, 0.0, 0
    for views in _views(spec, splits):
        own, other = (_log_softmax(each.predict_on_batch(views)) for each in (model, twin))
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


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = np.asarray(logits, np.float64)
    wide -= wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))

"""What a teacher of somebody else's makes of some labelled images: its input range and its classes' order, guessed."""

from __future__ import annotations

import numpy as np

from experiments.distillation.packaged import PACKAGED
from experiments.distillation.teachers import Teacher, seen
from framework.data.source import Splits
from framework.protocols import Array
from framework.spec import DistillSpec

# So many images tell 44 % from 91 %.
_IMAGES = 64
# How much better another range must be, as a share of the images.
_BETTER = 0.15
# From this share on it is an order, and no accident.
_ORDERED = 0.6


def of_teacher(spec: DistillSpec, teacher: Teacher, splits: Splits) -> list[str]:
    """Lines on a teacher whose input range nobody has said; none where there are no labels to measure it by."""
    from framework.views import RANGES

    if teacher.spec.name in PACKAGED:
        return _of_size(spec, teacher, PACKAGED[teacher.spec.name].image_size)
    source = splits.test or splits.validation or splits.train
    if teacher.folder is None and _are_within_one(teacher):
        who = f"all outputs of the teacher {teacher.spec.name!r}"
        return [f"hint: {who} lie in [0, 1], as after a sigmoid; logits are expected"]
    if teacher.folder is not None or teacher.spec.normalize is not None or splits.classes is None:
        return []
    views, labels = map(np.concatenate, zip(*seen(spec, teacher, source, _IMAGES), strict=True))
    views, labels = views[labels >= 0], labels[labels >= 0]
    if len(labels) < _IMAGES // 2:
        return []
    found = {name: _outputs(teacher, views, name).argmax(-1) for name in (None, *RANGES)}
    right = {name: float((winners == labels).mean()) for name, winners in found.items()}
    best = max(right, key=lambda name: right[name])
    name, ordered = max(((name, _reordered(each, labels)) for name, each in found.items()), key=lambda pair: pair[1])
    who = f"hint: the teacher {teacher.spec.name!r} is right on {right[None]:.0%} of {len(labels)} images"
    if ordered >= max(_ORDERED, right[best] + _BETTER):
        also = f"teacher.normalize={name} and " if name else ""
        return [
            f"{who}, and on {ordered:.0%} with {also}its outputs in another order: teacher.classes=FILE gives the order"
        ]
    if best is not None and right[best] >= right[None] + _BETTER:
        return [f"{who}, and on {right[best]:.0%} with teacher.normalize={best}"]
    return []


def _are_within_one(teacher: Teacher) -> bool:
    """Whether its outputs for noise are no logits but numbers in [0, 1]."""
    from framework.models.foreign import probes

    logits = _outputs(teacher, probes(teacher.size), teacher.spec.normalize)
    return bool((logits >= 0).all() and (logits <= 1).all() and logits.any())


def _of_size(spec: DistillSpec, teacher: Teacher, own: int) -> list[str]:
    """Which views a teacher sees that was trained on views of its own size in pixels."""
    who = f"the teacher {teacher.spec.name!r}"
    if teacher.size != own:
        cure = f"views.teacher_size={own} takes longer and makes it better"
        return [f"hint: {who} was trained on views of {own} px and sees {teacher.size} px here; {cure}"]
    return [] if own == spec.views.size else [f"{who} sees the views at {own} px, the student at {spec.views.size} px"]


def _outputs(teacher: Teacher, views: Array, name: str | None) -> Array:
    """What it gives for views in [-1, 1] that are brought into a range."""
    from keras import ops

    from framework.models.calls import called
    from framework.views import normalize

    [logits] = called(teacher.model, [normalize(ops.convert_to_tensor(views), name)])
    return np.asarray(ops.convert_to_numpy(ops.cast(logits, "float32")))


def _reordered(winners: Array, labels: Array) -> float:
    """The share that would be right if each output were the class that it is most often given for, each class once."""
    from scipy.optimize import linear_sum_assignment

    size = 1 + int(max(winners.max(), labels.max()))
    # A few images for a class fit any order.
    if len(labels) < 5 * size:
        return 0.0
    counts = np.zeros((size, size), int)
    np.add.at(counts, (winners, labels), 1)
    rows, columns = linear_sum_assignment(-counts)
    return float(counts[rows, columns].sum() / len(labels))

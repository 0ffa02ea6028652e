"""Teachers that are ready to teach: found by their names, built, and given their weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.distillation import weights
from experiments.distillation.naming import find, stored_names
from experiments.distillation.outputs import Labelled, known_classes, num_outputs, order_of
from experiments.distillation.telling import Tell, nobody
from experiments.tracking.folders import default_root
from framework.errors import UserError
from framework.files import stored
from framework.protocols import Array, Source
from framework.spec import GIVEN, DistillSpec, TeacherSpec

if TYPE_CHECKING:
    from keras import Model


@dataclass(frozen=True)
class Teacher:
    """A teacher that is ready to teach.

    Attributes:
        spec: with its fingerprint and its input range filled in.
        size: pixels of its views.
        folder: where it is stored; None for one that was built or handed over.
        sha256: of its weights.
        agreement: in reduced precision, how well it agrees with itself in the run's; None where that was not asked.
    """

    spec: TeacherSpec
    size: int
    folder: Path | None
    model: Model
    sha256: str
    agreement: Mapping[str, float] | None = None

    def identity(self) -> dict[str, Any]:
        """What a run writes down of it, as plain values."""
        found: dict[str, Any] = {"sha256": self.sha256, "fingerprint": self.spec.fingerprint}
        return found if self.agreement is None else found | {"agreement": dict(self.agreement)}


def load(spec: DistillSpec, splits: Labelled, root: Path | None = None, tell: Tell = nobody) -> tuple[Teacher, ...]:
    """Find and build a spec's teachers, each for its own views; `root` is the folder for caches.

    Raises:
        UserError: a name that can be no teacher, a teacher without weights, or one whose classes are not the data's.
    """
    root, loaded = root or default_root(), []
    for teacher, size in zip(spec.teachers, spec.teacher_sizes, strict=True):
        folder = find(teacher.name, root)
        model = build(teacher, size, folder, spec.seed, splits, root, tell)
        loaded.append(_identified(teacher, size, folder, model))
    return tuple(loaded)


def handed_over(spec: DistillSpec, model: Any) -> Teacher:
    """A built model, or a module of the backend's own library, as the only teacher of a spec.

    Raises:
        UserError: the spec has none or several, or wants it in a precision of its own; or it is no model.
    """
    from framework.models import catalog

    if len(spec.teachers) != 1:
        raise UserError(f"teaching = {spec.teaching!r}: expected {len(spec.teachers)} teachers, received 1")
    if spec.teachers[0].precision:
        raise UserError("teacher.precision: a model that is handed over computes as it was built")
    size = spec.teacher_sizes[0]
    model = catalog.given(model, "teacher", size, spec.seed)
    return _identified(replace(spec.teachers[0], name=GIVEN), size, None, model)


def _identified(teacher: TeacherSpec, size: int, folder: Path | None, model: Model) -> Teacher:
    """The fingerprint is that of what made it, where its card knows, else of its weights."""
    card = stored.load_card(folder) if folder else None
    sha256 = card.sha256 if card else weights.digest(model)
    fingerprint = (card.fingerprint if card else "") or sha256[:16]
    normalize = teacher.normalize or (card.normalize if card else None)
    return Teacher(replace(teacher, fingerprint=fingerprint, normalize=normalize), size, folder, model, sha256)


def seen(
    spec: DistillSpec, teacher: Teacher, source: Source, limit: int | None = None
) -> Iterator[tuple[Array, Array]]:
    """What a teacher sees of a split in evaluation, batch by batch, before its own input range and without padding.

    A `limit` takes only so many examples, spread evenly over it.

    Yields:
        Views float32 [B, S, S, 3] in [-1, 1] and labels int32 [B], -1 where there is none.
    """
    from framework.data.loader import EvalBatches

    alone = replace(spec, teachers=(teacher.spec,), views=replace(spec.views, teacher_size=teacher.size))
    for batch in EvalBatches(alone, source, limit):
        [views] = batch.teacher_views or (batch.views,)
        yield views[batch.mask > 0], batch.labels[batch.mask > 0]


def output_names(found: Sequence[Teacher]) -> tuple[str, ...] | None:
    """The names of the first teacher's outputs, for data without labels; None where it has none."""
    names = known_classes(found[0].spec, found[0].folder) if found else None
    return tuple(each[-1] for each in names) if names else None


def build(
    teacher: TeacherSpec, size: int, folder: Path | None, seed: int, splits: Labelled, root: Path, tell: Tell = nobody
) -> Model:
    """Build a teacher with its weights, for views of `size` pixels; errors as in `load`.

    Args:
        folder: where it is stored; None builds the model of that name.
        seed: of the parameters that no file gives.
        splits: the data, in whose order it gives its classes.
        tell: takes a line on what was matched of its weights.
    """
    import keras

    from framework.models import catalog

    if folder is None and teacher.weights is None and catalog.is_untrained(teacher.name, teacher.options):
        known = ", ".join(stored_names())
        raise UserError(
            f"teacher.name = {teacher.name!r} has no weights: give teacher.weights, or a stored one: {known}"
        )
    names = known_classes(teacher, folder)
    order = order_of(names, splits)
    with policy_kept():
        if teacher.precision is not None:
            keras.config.set_dtype_policy(teacher.precision)
        if folder is not None:
            model = weights.restored(folder, stored.load_card(folder), size)
        else:
            logits = num_outputs(names, None if splits.classes is None else len(splits.classes))
            model = weights.built(teacher, logits, size, seed, root, own_head=False, tell=tell)
        return _reordered(model, order, size)


def _reordered(model: Model, order: list[int] | None, image_size: int) -> Model:
    from framework.models.reordered import Reordered

    if order is None:
        return model
    reordered = Reordered(model, order)
    reordered.build((None, image_size, image_size, 3))
    return reordered


@contextmanager
def policy_kept() -> Iterator[None]:
    """Give Keras back the dtype that it had; models built within keep theirs."""
    kept = ("float32", "float32")
    if keras := sys.modules.get("keras"):
        kept = keras.config.floatx(), keras.config.dtype_policy()
    try:
        yield
    finally:
        if keras := sys.modules.get("keras"):
            keras.config.set_floatx(kept[0])
            keras.config.set_dtype_policy(kept[1])

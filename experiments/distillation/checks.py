"""What is refused before a run trains: unknown names, models that don't fit the data or each other, weak teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import backends
from experiments.distillation.options import RunOptions
from experiments.distillation.teachers import Teacher, check_name
from framework import data as data_layer
from framework.data.source import Splits
from framework.errors import UserError, near
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from keras import Model


def check_early(spec: DistillSpec, options: RunOptions) -> None:
    """Refuse at once what can be seen without data: before a run is written down. It loads the backend.

    Raises:
        UserError: an unknown or missing backend, teacher, student, distance, optimizer, schedule or augmentation.
    """
    backends.load(backends.choose(options.backend))
    for teacher in spec.teachers:
        check_name(teacher.name)
    check_functions(spec)


def check_functions(spec: DistillSpec) -> None:
    """Refuse unknown functions and models; a backend must be loaded. Errors as in `check_early`."""
    # These import Keras, which needs the backend to be loaded.
    from framework import losses, optimizers, views
    from framework.models.catalog import MODELS
    from framework.spec import schedules
    from framework.spec.named import find

    losses.bound(spec.loss)
    optimizers.make(spec.optimizer)
    find(spec.schedule.name, schedules.SCHEDULES, "schedule.name")
    for name in spec.views.augmentations:
        find(name, views.AUGMENTATIONS, "views.augmentations")
    if spec.student.name not in MODELS and ":" not in spec.student.name and not spec.student.name.endswith(".keras"):
        raise UserError(f"student.name = {spec.student.name!r}: {near(spec.student.name, MODELS)}")


def num_outputs(model: Model, spec: DistillSpec, who: str, size: int | None = None) -> int:
    """The number of logits that a model gives for the spec's views, of another size than the student's if one is given.

    Raises:
        UserError: it doesn't take them.
    """
    from framework.models.foreign import size_hint

    size = size or spec.views.size
    try:
        return int(model.compute_output_shape((None, size, size, 3))[-1])
    except (ValueError, TypeError) as error:
        raise UserError(f"the {who} doesn't take views [B, {size}, {size}, 3]: {size_hint()}; {error}") from error


def check_outputs(student: Model, teachers: Sequence[Teacher], splits: Splits, spec: DistillSpec) -> None:
    """Hold student and teachers against the data's classes and each other.

    Raises:
        UserError: a number of outputs that doesn't fit.
    """
    own = num_outputs(student, spec, "student")
    data_layer.check_classes(own, splits, "student")
    for teacher in teachers:
        count = num_outputs(teacher.model, spec, "teacher", teacher.size)
        data_layer.check_classes(count, splits, "teacher")
        if count != own:
            raise UserError(f"the teacher has {count} outputs and the student {own}")


def refuse_weak_teacher(spec: DistillSpec, measured: Mapping[str, float]) -> None:
    """Hold each teacher against its own `min_accuracy`.

    Args:
        spec: says what is wanted.
        measured: evaluations before the first step, `"test.teacher.accuracy"`, or `"test.teacher0.accuracy"` where
            there are several teachers; the test split comes first.

    Raises:
        UserError: a teacher is weaker, or there is nothing to measure it on.
    """
    for index, teacher in enumerate(spec.teachers):
        least, name = teacher.min_accuracy, f"teacher{index if len(spec.teachers) > 1 else ''}"
        if least is None:
            continue
        accuracy = measured.get(f"test.{name}.accuracy", measured.get(f"validation.{name}.accuracy"))
        if accuracy is None:
            raise UserError(f"teacher.min_accuracy = {least} needs a test or validation split with labels")
        if accuracy < least:
            raise UserError(
                f"the teacher {teacher.name!r} reaches {accuracy:.1%}, below teacher.min_accuracy = {least}: "
                "wrong classes, input range (teacher.normalize) or weights?"
            )

"""What is refused before a run trains: models that don't fit the data or each other, and weak teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from framework import data as data_layer
from framework.data.source import Splits
from framework.errors import UserError
from framework.spec import DistillSpec

if TYPE_CHECKING:
    from keras import Model


def num_outputs(model: Model, spec: DistillSpec, who: str, size: int | None = None) -> int:
    """The number of logits that a model gives for the spec's views, of another size than the student's if one is given.

    Raises:
        UserError: it doesn't take them.
    """
    size = size or spec.views.size
    try:
        return int(model.compute_output_shape((None, size, size, 3))[-1])
    except (ValueError, TypeError) as error:
        raise UserError(f"the {who} doesn't take views [B, {size}, {size}, 3]: {error}") from error


def check_outputs(student: Model, teachers: Sequence[Model], splits: Splits, spec: DistillSpec) -> None:
    """Hold student and teachers against the data's classes and each other.

    Raises:
        UserError: a number of outputs that doesn't fit.
    """
    own = num_outputs(student, spec, "student")
    data_layer.check_classes(own, splits, "student")
    for teacher, size in zip(teachers, spec.teacher_sizes, strict=True):
        count = num_outputs(teacher, spec, "teacher", size)
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

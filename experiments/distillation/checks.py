"""What is refused before a run trains: unknown names, models that don't fit the data or each other, weak teachers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import backends
from experiments.distillation.naming import check_name, check_own_model, stored_folder
from experiments.distillation.options import RunOptions
from experiments.distillation.outputs import known_classes, to_be_built
from experiments.distillation.teachers import Teacher
from framework import data as data_layer
from framework.data.classes import permutation
from framework.data.source import Splits
from framework.errors import UserError, near
from framework.spec import DistillSpec, TeacherSpec, schedules

if TYPE_CHECKING:
    from keras import Model


def check_early(spec: DistillSpec, options: RunOptions) -> None:
    """Refuse at once what can be seen without data: before a run is written down. It loads the backend.

    Raises:
        UserError: an unknown or missing backend, teacher, student, distance, optimizer, schedule or augmentation; a
            warm-up that is longer than the run, where that can be counted in steps already.
    """
    backends.load(backends.choose(options.backend))
    for teacher in spec.teachers:
        check_name(teacher.name)
    check_functions(spec)
    check_length(spec)


def check_functions(spec: DistillSpec) -> None:
    """Refuse unknown functions and models; a backend must be loaded. Errors as in `check_early`."""
    # These import Keras, which needs the backend to be loaded.
    from framework import losses, optimizers, views
    from framework.models.catalog import MODELS
    from framework.spec.named import find

    losses.bound(spec.loss)
    optimizers.make(spec.optimizer)
    find(spec.schedule.name, schedules.SCHEDULES, "schedule.name")
    for name in spec.views.augmentations:
        find(name, views.AUGMENTATIONS, "views.augmentations")
    name = spec.student.name
    if ":" in name or name.endswith(".keras"):
        check_own_model(name, "student.name")
    elif name not in MODELS:
        raise UserError(f"student.name = {name!r}: {near(name, MODELS)}; or package.module:function, or a .keras file")


def check_length(spec: DistillSpec, num_examples: int | None = None) -> None:
    """Refuse a warm-up that does not end within the run.

    Epochs are refused only where `num_examples`, of the training split, is known: by it they are steps.

    Raises:
        UserError: as `framework.spec.schedules.make`.
    """
    if num_examples is not None or spec.duration.total_epochs is None:
        schedules.make(spec.schedule, spec.duration.steps(num_examples or 0, spec.batch_size))


def num_outputs(model: Model, size: int, who: str) -> int:
    """The number of logits that a model gives for views of `size` pixels.

    Raises:
        UserError: it doesn't take them.
    """
    from framework.models.foreign import taking_views

    with taking_views(f"the {who}", size, size, 3):
        return int(model.compute_output_shape((None, size, size, 3))[-1])


def admit_teacher(teacher: Teacher) -> None:
    """Try a teacher with real numbers; raises as `Candidate.admit_teacher` does."""
    from framework.models.admission import Candidate

    who = f"the teacher {teacher.spec.name!r}"
    candidate = Candidate(teacher.model, who, teacher.size, teacher.spec.normalize)
    candidate.admit_teacher(may_be_constant=teacher.spec.min_accuracy is not None)


def admit_student(student: Model, spec: DistillSpec) -> None:
    """Try a student with real numbers; raises as `Candidate.admit_student` does."""
    from framework.models.admission import Candidate

    Candidate(student, f"the student {spec.student.name!r}", spec.views.size).admit_student()


def try_functions(spec: DistillSpec, num_classes: int) -> None:
    """Try a loss and augmentations of one's own on two examples.

    Raises:
        UserError: one fails, or returns anything but what it should.
    """
    from framework import losses, views

    views.tried(spec.views)
    if spec.teachers:
        losses.tried(spec.loss, num_classes)


def check_teachers(spec: DistillSpec, num_classes: int | None, classes: tuple[str, ...] | None = None) -> None:
    """Refuse teachers that were made for other classes than the data's, before they are built.

    Args:
        spec: names the data and the teachers.
        num_classes: of the data; None without labels, which fit any teacher.
        classes: their names, where they are known.

    Raises:
        UserError: it names the command that trains a teacher on these data.
    """
    data = shlex.quote(f"data={spec.data.name}")
    offer = f"train one: python -m experiments.teacher with {data} (it prints the teacher=FOLDER to use)"
    for teacher in spec.teachers if num_classes is not None else ():
        who = f"the teacher {teacher.name!r}"
        _, logits = to_be_built(teacher, num_classes)
        if logits != num_classes:
            raise UserError(
                f"{who} knows {logits} classes, but data {spec.data.name!r} have {num_classes}: {offer}, or "
                "distil without labels, data.labels=null"
            )
        names = known_classes(teacher, stored_folder(teacher.name))
        if names is not None and classes is not None:
            try:
                permutation(names, classes, who, spec.data.name)
            except UserError as error:
                raise UserError(f"{error}; or {offer}") from error


def check_outputs(student: Model, teachers: Sequence[Teacher], splits: Splits, spec: DistillSpec) -> None:
    """Hold student and teachers against the data's classes and each other.

    Raises:
        UserError: a number of outputs that doesn't fit.
    """
    own = num_outputs(student, spec.views.size, "student")
    data_layer.check_classes(own, splits, "student")
    for teacher in teachers:
        count = num_outputs(teacher.model, teacher.size, "teacher")
        data_layer.check_classes(count, splits, "teacher")
        if count != own:
            raise UserError(f"the teacher has {count} outputs and the student {own}")


def refuse_weak_teacher(spec: DistillSpec, measured: Mapping[str, float], num_classes: int | None = None) -> None:
    """Hold each teacher against its own `min_accuracy`; without one, against chance.

    Args:
        spec: says what is wanted.
        measured: evaluations before the first step, `"test.teacher.accuracy"`, or `"test.teacher0.accuracy"` where
            there are several teachers; the test split comes first.
        num_classes: of the data; None without labels.

    Raises:
        UserError: a teacher is weaker, or there is nothing to measure a `min_accuracy` on; or it gives no numbers.
    """
    for index, teacher in enumerate(spec.teachers):
        name = f"teacher{index if len(spec.teachers) > 1 else ''}"
        split = next((each for each in ("test", "validation") if f"{each}.{name}.accuracy" in measured), None)
        if split is None:
            if teacher.min_accuracy:
                raise UserError(
                    f"teacher.min_accuracy = {teacher.min_accuracy} needs a test or validation split with labels"
                )
            continue
        accuracy, count = measured[f"{split}.{name}.accuracy"], measured.get(f"{split}.examples", 0)
        if not math.isfinite(measured.get(f"{split}.{name}.loss", 0.0)):
            raise UserError(f"the teacher {teacher.name!r} gives no finite logits for images of {split}: {_MENDING}")
        least, told = _least(teacher, num_classes, count)
        if accuracy < least:
            raise UserError(f"the teacher {teacher.name!r} reaches {accuracy:.1%} on {split}, {told}: {_MENDING}")


_MENDING = (
    "wrong classes (teacher.classes), input range (teacher.normalize) or weights? "
    "teacher.min_accuracy=0 accepts it as it is"
)
# So few examples say nothing about chance.
_FEWEST = 50


def _least(teacher: TeacherSpec, num_classes: int | None, count: float) -> tuple[float, str]:
    """The accuracy that a teacher needs, and in words what a lower one is."""
    if teacher.min_accuracy is not None:
        return teacher.min_accuracy, f"below teacher.min_accuracy = {teacher.min_accuracy}"
    if num_classes is None or num_classes < 2 or count < _FEWEST:
        return 0.0, ""
    chance = 1 / num_classes
    # Two standard deviations: what guessing gives in 39 of 40 cases is no better than guessing.
    return chance + 2 * math.sqrt(chance * (1 - chance) / count), f"near chance ({chance:.1%} of {num_classes} classes)"

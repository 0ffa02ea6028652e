"""The teachers of a stored student, which answer for the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.distillation import teachers
from experiments.distillation.answering import Answering
from experiments.distillation.lineage import started
from experiments.distillation.outputs import Taught
from experiments.distillation.student import Student
from framework.errors import UserError
from framework.spec import GIVEN, DistillSpec


def teachers_of(folder: Path, student: Answering, root: Path) -> list[Student]:
    """The teachers of a run, in the order of its spec; each sees its own views, as in the run's evaluations.

    Args:
        folder: of the stored student, in that of its run.
        student: what was loaded from it.
        root: the folder of runs, and of trained teachers.

    Raises:
        UserError: there is no teacher, or it can't be found again.
    """
    beginning = started(folder.parent)
    if "spec" not in beginning:
        raise UserError(f"--teacher: {folder} doesn't say who taught it: expected a run, or its folder")
    spec = DistillSpec.from_dict(beginning["spec"])
    if not spec.teachers:
        raise UserError(f"--teacher: {folder.parent.name} was trained on labels, without a teacher")
    if any(each.name == GIVEN for each in spec.teachers):
        raise UserError(
            f"--teacher: the teacher of {folder.parent.name} was handed over from Python and is stored in no file"
        )
    found = teachers.load(spec, Taught(spec.data.name, student.card.classes), root)
    return [_answering(each, student) for each in found]


def _answering(teacher: teachers.Teacher, student: Answering) -> Student:
    card, size = student.card, teacher.size
    # The same part of the image at its own size.
    resize = None if card.resize is None else round(card.resize * size / card.image_size)
    return Student(teacher.model, replace(card, image_size=size, resize=resize, normalize=teacher.spec.normalize))

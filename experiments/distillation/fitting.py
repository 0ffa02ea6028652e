"""Whether teachers were made for the data's classes, and the command that makes one which is."""

from __future__ import annotations

from experiments.distillation.teachers import to_be_built
from framework.errors import UserError
from framework.spec import DistillSpec


def check(spec: DistillSpec, num_classes: int | None) -> None:
    """Refuse teachers of another number of classes.

    Args:
        spec: names the data and the teachers.
        num_classes: of the data; None without labels, which fit any teacher.

    Raises:
        UserError: it names the command that trains a teacher on these data.
    """
    if num_classes is None:
        return
    for teacher in spec.teachers:
        _, logits = to_be_built(teacher, num_classes)
        if logits != num_classes:
            raise UserError(
                f"the teacher {teacher.name!r} knows {logits} classes, but data {spec.data.name!r} have {num_classes}: "
                f"{offer(spec)}"
            )


def offer(spec: DistillSpec) -> str:
    """How a teacher for the data is made."""
    return (
        f"train one: python -m experiments.teacher with data={spec.data.name} (it prints the teacher=FOLDER to use), "
        "or distil without labels, data.labels=null"
    )

"""Whether teachers were made for the data's classes, and the command that makes one which is."""

from __future__ import annotations

import shlex

from experiments.distillation.naming import stored_folder
from experiments.distillation.outputs import known_classes, to_be_built
from framework.data.classes import permutation
from framework.errors import UserError
from framework.spec import DistillSpec


def check(spec: DistillSpec, num_classes: int | None, classes: tuple[str, ...] | None = None) -> None:
    """Refuse teachers of other classes.

    Args:
        spec: names the data and the teachers.
        num_classes: of the data; None without labels, which fit any teacher.
        classes: their names, where they are known.

    Raises:
        UserError: it names the command that trains a teacher on these data.
    """
    if num_classes is None:
        return
    for teacher in spec.teachers:
        who = f"the teacher {teacher.name!r}"
        _, logits = to_be_built(teacher, num_classes)
        if logits != num_classes:
            raise UserError(
                f"{who} knows {logits} classes, but data {spec.data.name!r} have {num_classes}: {_offer(spec)}, or "
                "distil without labels, data.labels=null"
            )
        names = known_classes(teacher, stored_folder(teacher.name))
        if names is not None and classes is not None:
            try:
                permutation(names, classes, who, spec.data.name)
            except UserError as error:
                raise UserError(f"{error}; or {_offer(spec)}") from error


def _offer(spec: DistillSpec) -> str:
    """How a teacher for the data is made."""
    data = shlex.quote(f"data={spec.data.name}")
    return f"train one: python -m experiments.teacher with {data} (it prints the teacher=FOLDER to use)"

"""What a teacher gives: its model, how many logits, and their names, also before there is such a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.config import recipe_spec
from experiments.distillation.naming import TRAINED, check_name, stored_folder
from experiments.distillation.packaged import PACKAGED
from framework.data.classes import Names, permutation
from framework.data.classes import order as class_order
from framework.data.offline import OFFLINE
from framework.data.source import Splits
from framework.errors import UserError
from framework.files import stored
from framework.spec import ModelSpec, TeacherSpec


class Taught(NamedTuple):
    """Data that are not here: their name, and their classes in the order of the labels; None without labels."""

    name: str
    classes: tuple[str, ...] | None


# What a teacher must know of the data.
Labelled = Splits | Taught


def to_be_built(teacher: TeacherSpec, num_classes: int | None) -> tuple[ModelSpec, int]:
    """The model of a teacher and its number of logits, without its weights.

    Args:
        teacher: by any name.
        num_classes: of the data; None without labels.

    Raises:
        UserError: no such teacher, or nothing says how many classes it has.
    """
    check_name(teacher.name)
    if (made := _made(teacher.name)) is not None:
        model, names = made
        return model, len(names)
    folder = stored_folder(teacher.name)
    if folder is not None:
        card = stored.load_card(folder)
        return ModelSpec(name=card.name, options=card.options), card.num_classes
    return teacher, num_outputs(known_classes(teacher, None), num_classes)


def _made(name: str) -> tuple[ModelSpec, Sequence[Names]] | None:
    """The model and the classes of a teacher that is made when it is first asked for; None of any other."""
    if name in TRAINED:
        recipe = recipe_spec(TRAINED[name])
        return recipe.student, [(each,) for each in OFFLINE[recipe.data.name].classes]
    if name in PACKAGED:
        return ModelSpec(name=PACKAGED[name].model), class_order(PACKAGED[name].classes)
    return None


def num_outputs(names: Sequence[Names] | None, num_classes: int | None) -> int:
    """How many logits a teacher has that is no stored one: as many as it has classes, else as the data have.

    Raises:
        UserError: neither says it.
    """
    if names:
        return len(names)
    if num_classes is None:
        raise UserError("data without labels: give a stored teacher, or say its classes with teacher.classes=")
    return num_classes


def known_classes(teacher: TeacherSpec, folder: Path | None) -> Sequence[Names] | None:
    """The classes of a teacher's outputs, each with all its names; None where they are the data's in their order.

    Raises:
        UserError: `teacher.classes` is nothing that can be read.
    """
    if teacher.classes == "data":  # its outputs are the data's classes in their order, whatever their names
        return None
    if teacher.classes is not None:
        return class_order(teacher.classes)
    if (made := _made(teacher.name)) is not None:
        return made[1]
    names = stored.load_card(folder).classes if folder else None
    return [(name,) for name in names] if names else None


def order_of(names: Sequence[Names] | None, splits: Labelled) -> list[int] | None:
    """The place of each of the data's classes among the teacher's, or None where it has them in their order."""
    if names is None or splits.classes is None:
        return None
    order = permutation(names, splits.classes, "the teacher", splits.name).tolist()
    return None if order == list(range(len(order))) else order

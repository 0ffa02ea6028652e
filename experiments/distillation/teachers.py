"""From a teacher's name to its folder and its model: shipped with the project, trained here, or any stored model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config import recipe_spec
from experiments.distillation import weights
from framework.data.classes import order as class_order
from framework.data.classes import permutation
from framework.data.source import Splits
from framework.errors import UserError, near
from framework.files import stored
from framework.spec import DistillSpec, ModelSpec, TeacherSpec

if TYPE_CHECKING:
    from keras import Model

SHIPPED = Path(__file__).parents[1] / "stored"
# Teachers that `distillation.trained` trains when they are first asked for, by the recipe of that name.
TRAINED = {"digits": "digits_teacher"}
# What `teacher.classes` says where the outputs are the data's classes in the data's order, whatever their names.
DATA_ORDER = "data"


def find(name: str, root: Path) -> Path | None:
    """The folder of a stored teacher; None where the name means a model to be built.

    Args:
        name: of the teacher. One that is trained when missing has its folder before there is anything in it.
        root: the folder for caches.

    Raises:
        UserError: the name can be no teacher.
    """
    if name in TRAINED:
        return trained_folder(name, root)
    check_name(name)
    return _stored_folder(name)


def _stored_folder(name: str) -> Path | None:
    own = Path(name).expanduser()
    return next((folder for folder in (SHIPPED / name, own, own / "student") if stored.is_stored(folder)), None)


def check_name(name: str) -> None:
    """Refuse a name that can be no teacher, without building anything.

    Raises:
        UserError: neither a stored teacher nor a model to be built.
    """
    if name in TRAINED or _stored_folder(name) or ":" in name or name.endswith(".keras"):
        return
    if Path(name).expanduser().is_dir():
        raise UserError(f"teacher.name = {name!r}: there is no {stored.CARD} in that folder")
    from framework.models.catalog import MODELS

    if name not in MODELS:
        known = near(name, [*stored_names(), *MODELS])
        raise UserError(f"teacher.name = {name!r}: {known}; or a run's folder, a .keras file, package.module:function")


def stored_names() -> list[str]:
    """The teachers that have a name of their own."""
    shipped = SHIPPED.iterdir() if SHIPPED.is_dir() else ()
    return sorted({*TRAINED, *(folder.name for folder in shipped if stored.is_stored(folder))})


def trained_folder(name: str, root: Path) -> Path:
    """Where a teacher of `TRAINED` is kept once it is trained."""
    recipe = TRAINED[name]
    return root / "teachers" / f"{recipe}-{recipe_spec(recipe).fingerprint}"


def to_be_built(teacher: TeacherSpec, num_classes: int | None) -> tuple[ModelSpec, int]:
    """The model of a teacher and its number of logits, without its weights.

    Args:
        teacher: by any name.
        num_classes: of the data; None without labels.

    Raises:
        UserError: no such teacher, or nothing says how many classes it has.
    """
    check_name(teacher.name)
    if teacher.name in TRAINED:
        from framework.data.offline import OFFLINE

        recipe = recipe_spec(TRAINED[teacher.name])
        return recipe.student, len(OFFLINE[recipe.data.name].classes)
    folder = _stored_folder(teacher.name)
    if folder is not None:
        card = stored.load_card(folder)
        return ModelSpec(name=card.name, options=card.options), card.num_classes
    names = known_classes(teacher, None)
    logits = len(names) if names else num_classes
    if logits is None:
        raise UserError("data without labels: give a stored teacher, or say its classes with teacher.classes=")
    return teacher, logits


def build_all(
    spec: DistillSpec, folders: Sequence[Path | None], splits: Splits, root: Path | None = None
) -> list[Model]:
    """Build the teachers with their weights; `root` is the folder for caches, by default where runs go.

    Raises:
        UserError: a teacher without weights, or one whose classes are not the data's.
    """
    models = []
    for teacher, folder, size in zip(spec.teachers, folders, spec.teacher_sizes, strict=True):
        with arithmetic(teacher.precision):
            models.append(
                _stored(folder, teacher, splits, size) if folder else _built(teacher, spec, splits, size, root)
            )
    return models


@contextmanager
def arithmetic(precision: str | None) -> Iterator[None]:
    """Models that are built within it compute in `precision`; None leaves it as it is."""
    import keras

    before = keras.config.dtype_policy()
    if precision is not None:
        keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def known_classes(teacher: TeacherSpec, folder: Path | None) -> Sequence[tuple[str, ...]] | None:
    """The classes of a teacher's outputs, each with all its names; None where they are the data's in their order.

    Raises:
        UserError: `teacher.classes` is nothing that can be read.
    """
    if teacher.classes == DATA_ORDER:
        return None
    if teacher.classes is not None:
        return class_order(teacher.classes)
    names = stored.load_card(folder).classes if folder else None
    return [(name,) for name in names] if names else None


def _stored(folder: Path, teacher: TeacherSpec, splits: Splits, size: int) -> Model:
    from framework.models import catalog
    from framework.models.initial import assign

    card = stored.load_card(folder)
    order = _order(known_classes(teacher, folder), splits)
    model = catalog.build(card.name, card.options, card.num_classes, size, None)
    assign(model, stored.load_weights(folder, card))
    return _reordered(model, order, size)


def _order(names: Sequence[tuple[str, ...]] | None, splits: Splits) -> list[int] | None:
    """The place of each of the data's classes among the teacher's, or None where it has them in their order."""
    if names is None or splits.classes is None:
        return None
    order = permutation(names, splits.classes, "the teacher", splits.name).tolist()
    return None if order == list(range(len(order))) else order


def _reordered(model: Model, order: list[int] | None, image_size: int) -> Model:
    from framework.models.reordered import Reordered

    if order is None:
        return model
    reordered = Reordered(model, order)
    reordered.build((None, image_size, image_size, 3))
    return reordered


def _built(teacher: TeacherSpec, spec: DistillSpec, splits: Splits, size: int, root: Path | None) -> Model:
    from framework.models import catalog

    if teacher.weights is None and catalog.is_untrained(teacher.name, teacher.options):
        known = ", ".join(stored_names())
        raise UserError(
            f"teacher.name = {teacher.name!r} has no weights: give teacher.weights, or a stored one: {known}"
        )
    names = known_classes(teacher, None)
    classes = names or splits.classes
    if classes is None:
        raise UserError("data without labels: give a stored teacher, or say its classes with teacher.classes=")
    order = _order(names, splits)
    filled = teacher.weights is not None and not teacher.dont_load
    model = catalog.build(teacher.name, teacher.options, len(classes), size, None if filled else spec.seed)
    if teacher.weights is not None:
        weights.fill(model, weights.located(teacher.weights, root), None, teacher.dont_load)
    return _reordered(model, order, size)

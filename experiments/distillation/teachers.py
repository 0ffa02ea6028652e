"""From a teacher's name to its folder and its model: shipped, packaged, trained here, or any stored model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiments.config import recipe_spec
from experiments.distillation import packaged, weights
from experiments.distillation.packaged import PACKAGED
from experiments.tracking.journal import default_root
from framework.data.classes import order as class_order
from framework.data.classes import permutation
from framework.errors import UserError, near
from framework.files import stored
from framework.files.paths import path_of
from framework.spec import GIVEN, DistillSpec, ModelSpec, TeacherSpec
from framework.spec.named import imported

if TYPE_CHECKING:
    from keras import Model

SHIPPED = Path(__file__).parents[1] / "stored"
# Teachers that `distillation.trained` trains when they are first asked for, by the recipe of that name.
TRAINED = {"digits": "digits_teacher"}
# What `teacher.classes` says where the outputs are the data's classes in the data's order, whatever their names.
DATA_ORDER = "data"


class Labelled(Protocol):
    """What a teacher must know of the data: their name, and their classes in the order of the labels."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """None without labels."""


@dataclass(frozen=True)
class Teacher:
    """A teacher that is ready to teach.

    Attributes:
        spec: with its fingerprint and its input range filled in.
        size: pixels of its views.
        folder: where it is stored; None for one that was built or handed over.
        model: the Keras model.
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


def find(name: str, root: Path) -> Path | None:
    """The folder of a stored teacher; None where the name means a model to be built.

    Args:
        name: of the teacher. One that is made when missing has its folder before there is anything in it.
        root: the folder for caches.

    Raises:
        UserError: the name can be no teacher.
    """
    if name in TRAINED:
        return trained_folder(name, root)
    if name in PACKAGED:
        return packaged.folder(name, root)
    check_name(name)
    return _stored_folder(name)


def _stored_folder(name: str) -> Path | None:
    own = path_of(name)
    return next((folder for folder in (SHIPPED / name, own, own / "student") if stored.is_stored(folder)), None)


def check_name(name: str) -> None:
    """Refuse a name that can be no teacher, without building anything.

    Raises:
        UserError: neither a stored teacher nor a model to be built.
    """
    if name in TRAINED or name in PACKAGED or _stored_folder(name):
        return
    if ":" in name or name.endswith(".keras"):
        check_own_model(name, "teacher.name")
        return
    if path_of(name).is_dir():
        raise UserError(f"teacher.name = {name!r}: there is no {stored.CARD} in that folder")
    if "/" in name or name.startswith("~"):
        looked = path_of(name).absolute()
        raise UserError(f"teacher.name = {name!r}: there is no such folder (looked for {looked})")
    from framework.models.catalog import MODELS

    if name not in MODELS:
        known = near(name, [*stored_names(), *MODELS])
        others = (
            f"or a run's folder (there is none of this name in {Path.cwd()}), a .keras file, package.module:function"
        )
        raise UserError(f"teacher.name = {name!r}: {known}; {others}")


def check_own_model(name: str, key: str) -> None:
    """Refuse an import path or a `.keras` file that isn't there, without building it; `key` is what names it.

    Raises:
        UserError: it says where it was looked for.
    """
    if not name.endswith(".keras"):
        imported(name, key)
    elif not path_of(name).is_file():
        looked = path_of(name).absolute()
        raise UserError(f"{key} = {name!r}: there is no such file (looked for {looked})")


def stored_names() -> list[str]:
    """The teachers that have a name of their own."""
    shipped = SHIPPED.iterdir() if SHIPPED.is_dir() else ()
    return sorted({*TRAINED, *PACKAGED, *(folder.name for folder in shipped if stored.is_stored(folder))})


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
    if teacher.name in PACKAGED:
        known = PACKAGED[teacher.name]
        return ModelSpec(name=known.model), len(class_order(known.classes))
    folder = _stored_folder(teacher.name)
    if folder is not None:
        card = stored.load_card(folder)
        return ModelSpec(name=card.name, options=card.options), card.num_classes
    names = known_classes(teacher, None)
    logits = len(names) if names else num_classes
    if logits is None:
        raise UserError("data without labels: give a stored teacher, or say its classes with teacher.classes=")
    return teacher, logits


def load(
    spec: DistillSpec, splits: Labelled, root: Path | None = None, tell: Callable[[str], None] = lambda line: None
) -> tuple[Teacher, ...]:
    """Find and build a spec's teachers, each for its own views; `root` is the folder for caches.

    Raises:
        UserError: a name that can be no teacher, a teacher without weights, or one whose classes are not the data's.
    """
    return tuple(
        _loaded(teacher, size, spec.seed, splits, root or default_root(), tell)
        for teacher, size in zip(spec.teachers, spec.teacher_sizes, strict=True)
    )


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


def _loaded(
    teacher: TeacherSpec, size: int, seed: int, splits: Labelled, root: Path, tell: Callable[[str], None]
) -> Teacher:
    folder = find(teacher.name, root)
    return _identified(teacher, size, folder, build(teacher, size, folder, seed, splits, root, tell))


def _identified(teacher: TeacherSpec, size: int, folder: Path | None, model: Model) -> Teacher:
    """The fingerprint is that of what made it, where its card knows, else of its weights."""
    card = stored.load_card(folder) if folder else None
    sha256 = card.sha256 if card else weights.digest(model)
    fingerprint = (card.fingerprint if card else "") or sha256[:16]
    normalize = teacher.normalize or (card.normalize if card else None)
    return Teacher(replace(teacher, fingerprint=fingerprint, normalize=normalize), size, folder, model, sha256)


def build(
    teacher: TeacherSpec,
    size: int,
    folder: Path | None,
    seed: int,
    splits: Labelled,
    root: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Model:
    """Build a teacher with its weights.

    Args:
        teacher: its spec.
        size: pixels of its views.
        folder: where it is stored; None builds the model of that name.
        seed: of the parameters that no file gives.
        splits: the data, in whose order it gives its classes.
        root: the folder for caches, by default where runs go.
        tell: takes a line on what was matched of its weights.

    Raises:
        UserError: as in `load`.
    """
    with _arithmetic(teacher.precision):
        if folder:
            return _stored(teacher, size, folder, splits)
        return _built(teacher, size, seed, splits, root, tell)


@contextmanager
def _arithmetic(precision: str | None) -> Iterator[None]:
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
    if teacher.name in PACKAGED:
        return class_order(PACKAGED[teacher.name].classes)
    names = stored.load_card(folder).classes if folder else None
    return [(name,) for name in names] if names else None


def class_names(teacher: TeacherSpec) -> Sequence[tuple[str, ...]] | None:
    """As `known_classes`, of a teacher by any name, also before it is trained."""
    if teacher.name not in TRAINED or teacher.classes is not None:
        return known_classes(teacher, None if teacher.name in TRAINED else _stored_folder(teacher.name))
    from framework.data.offline import OFFLINE

    return [(name,) for name in OFFLINE[recipe_spec(TRAINED[teacher.name]).data.name].classes]


def output_names(found: Sequence[Teacher]) -> tuple[str, ...] | None:
    """The names of the first teacher's outputs, for data without labels; None where it has none."""
    names = known_classes(found[0].spec, found[0].folder) if found else None
    return tuple(each[-1] for each in names) if names else None


def _stored(teacher: TeacherSpec, size: int, folder: Path, splits: Labelled) -> Model:
    from framework.models import catalog
    from framework.models.initial import assign

    card = stored.load_card(folder)
    order = _order(known_classes(teacher, folder), splits)
    model = catalog.build(card.name, card.options, card.num_classes, size, None)
    assign(model, stored.load_weights(folder, card))
    return _reordered(model, order, size)


def _order(names: Sequence[tuple[str, ...]] | None, splits: Labelled) -> list[int] | None:
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


def _built(
    teacher: TeacherSpec, size: int, seed: int, splits: Labelled, root: Path | None, tell: Callable[[str], None]
) -> Model:
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
    model = weights.built(teacher, len(classes), size, seed, root, own_head=False, tell=tell)
    return _reordered(model, order, size)

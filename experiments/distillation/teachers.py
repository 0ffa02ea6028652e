"""Teachers by name: shipped with the project, trained when missing, or any stored model's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from experiments.config import recipe_spec
from experiments.tracking.journal import default_root
from framework.data.classes import order as class_order
from framework.data.classes import permutation
from framework.data.source import Splits
from framework.errors import UserError, near
from framework.files import download, stored
from framework.files.checkpoints import DamagedFile, read_arrays
from framework.protocols import Array
from framework.spec import DistillSpec, ModelSpec, TeacherSpec

if TYPE_CHECKING:
    from keras import Model

    from experiments.distillation.options import RunOptions

Model_ = TypeVar("Model_", ModelSpec, TeacherSpec)
SHIPPED = Path(__file__).parents[1] / "stored"
# Teachers that are trained when they are first asked for, by the recipe of that name.
TRAINED = {"digits": "digits_teacher"}
# What `teacher.classes` says where the outputs are the data's classes in the data's order, whatever their names.
DATA_ORDER = "data"
_PATIENCE = 3600.0


def find(teacher: TeacherSpec, root: Path, options: RunOptions, tell: Callable[[str], None]) -> Path | None:
    """The folder of a stored teacher; None where the name means a model to be built.

    Args:
        teacher: its `name` is looked up.
        root: the folder for caches.
        options: how a missing teacher is trained.
        tell: takes one-line remarks.
    """
    if teacher.name in TRAINED:
        return trained(TRAINED[teacher.name], root, options, tell)
    check_name(teacher.name)
    return _stored_folder(teacher.name)


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


def trained(recipe: str, root: Path, options: RunOptions, tell: Callable[[str], None]) -> Path:
    """The teacher that a recipe makes: trained once, cached by the recipe's fingerprint, shared by all backends."""
    from experiments.distillation.distillation import NoRecorder
    from experiments.distillation.prepare import prepare
    from experiments.tracking.locks import FileLock

    spec = recipe_spec(recipe)
    folder = _trained_folder(recipe, root)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    if not lock.acquire():
        tell(f"waiting for another process that trains the teacher {recipe!r}")
        if not lock.acquire(timeout=_PATIENCE):
            raise TimeoutError(f"another process has been training {folder} for {_PATIENCE:.0f} s")
    try:
        if not stored.is_stored(folder):
            tell(f"training the teacher {recipe!r}, once")
            ready = prepare(spec, options, root=root)
            ready.made_by = f"python -m experiments.teacher with {recipe}"
            outcome = ready.run(NoRecorder(), None)
            if outcome.error is not None:
                raise outcome.error
            ready.store_student(folder, outcome)
    finally:
        lock.release()
    return folder


def _trained_folder(recipe: str, root: Path) -> Path:
    return root / "teachers" / f"{recipe}-{recipe_spec(recipe).fingerprint}"


def trained_folder(name: str, root: Path) -> Path:
    """Where a teacher of `TRAINED` is kept once it is trained."""
    return _trained_folder(TRAINED[name], root)


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


def digest(model: Model) -> str:
    """The SHA-256 of a model's parameters and their names, in hexadecimal digits."""
    import keras

    from framework.models.initial import parameters

    sha256 = hashlib.sha256()
    for name, variable in parameters(model).items():
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        sha256.update(f"{name} {array.dtype} {variable.shape}".encode() + array.tobytes())
    return sha256.hexdigest()


def located(weights: str, root: Path | None = None) -> Path:
    """Where a model's `weights` are: the path itself, or the copy of what a URL names, fetched when first asked for.

    Raises:
        UserError: it can't be fetched, or is another file than the one expected.
    """
    if not download.is_url(weights):
        return Path(weights).expanduser()
    return download.fetch(weights, weights_folder(root)).path


def weights_folder(root: Path | None) -> Path:
    """Where downloaded weights are kept."""
    return (root or default_root()) / "cache" / "weights"


def weights_hashes(spec: DistillSpec, root: Path | None = None) -> dict[str, dict[str, str]]:
    """Each model's `weights` with their SHA-256, by `"student"` and `"teacher0"`; what has none is left out."""
    models = {"student": spec.student, **{f"teacher{place}": each for place, each in enumerate(spec.teachers)}}
    found = {}
    for who, model in models.items():
        if model.weights is not None:
            path = located(model.weights, root)
            source = download.public(model.weights) if download.is_url(model.weights) else model.weights
            found[who] = {"source": source, "sha256": stored.sha256(_file(path))}
    return found


def to_be_stored(spec: DistillSpec, hashes: Mapping[str, Mapping[str, str]]) -> DistillSpec:
    """The spec with addresses of weights that may be written down; `hashes` as `weights_hashes` gives them."""

    def public(who: str, model: Model_) -> Model_:
        if model.weights is None or not download.is_url(model.weights):
            return model
        return replace(model, weights=download.to_be_stored(model.weights, hashes[who]["sha256"]))

    teachers = tuple(public(f"teacher{place}", each) for place, each in enumerate(spec.teachers))
    return spec.replace(student=public("student", spec.student), teachers=teachers)


def _file(path: Path) -> Path:
    return path / stored.WEIGHTS if path.is_dir() else path


def fill(model: Model, path: Path, num_classes: int | None, dont_load: Sequence[str] = ()) -> None:
    """Assign a stored model's weights.

    Args:
        model: a built Keras model.
        path: a stored model's folder, or a `.safetensors` or `.npz` file; its head is `head/...`.
        num_classes: of `model`, whose head keeps its own values where the file's has another number; None takes all
            or nothing, as for a teacher, who can't teach with a head that was never trained.
        dont_load: regular expressions of names that keep the values they have.

    Raises:
        UserError: nothing readable is there, or names and shapes don't fit.
    """
    from framework.models.initial import assign

    arrays = stored.load_weights(path, stored.load_card(path)) if stored.is_stored(path) else _arrays(path)
    head = arrays.get("head/bias")
    other = head is not None and num_classes is not None and head.shape != (num_classes,)
    try:
        assign(model, arrays, (*dont_load, "head/.*") if other else dont_load)
    except UserError as error:
        raise UserError(f"weights {str(path)!r}: {error}") from error


def _arrays(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise UserError(f"weights: there is no stored model and no file at {path}")
    if path.suffix == ".npz":
        from framework.models.weights import read

        return read(path)
    try:
        return read_arrays(path)[0]
    except DamagedFile as error:
        raise UserError(str(error)) from error


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
        fill(model, located(teacher.weights, root), None, teacher.dont_load)
    return _reordered(model, order, size)

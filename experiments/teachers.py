"""Teachers by name: shipped with the project, trained when missing, or any stored model's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from framework import store
from framework.checkpoint import DamagedFile, read_arrays
from framework.data.source import Splits
from framework.errors import UserError, near
from framework.protocols import Array
from framework.spec import DistillSpec, TeacherSpec

if TYPE_CHECKING:
    from keras import Model

    from experiments.options import RunOptions

SHIPPED = Path(__file__).parent / "stored"
# Teachers that are trained when they are first asked for, by the recipe of that name.
TRAINED = {"digits": "digits_teacher"}
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
    return next((folder for folder in (SHIPPED / name, own, own / "student") if store.is_stored(folder)), None)


def check_name(name: str) -> None:
    """Refuse a name that can be no teacher, without building anything.

    Raises:
        UserError: neither a stored teacher nor a model to be built.
    """
    if name in TRAINED or _stored_folder(name) or ":" in name or name.endswith(".keras"):
        return
    if Path(name).expanduser().is_dir():
        raise UserError(f"teacher.name = {name!r}: there is no {store.CARD} in that folder")
    from framework.models.catalog import MODELS

    if name not in MODELS:
        known = near(name, [*stored_names(), *MODELS])
        raise UserError(f"teacher.name = {name!r}: {known}; or a run's folder, a .keras file, package.module:function")


def stored_names() -> list[str]:
    """The teachers that have a name of their own."""
    shipped = SHIPPED.iterdir() if SHIPPED.is_dir() else ()
    return sorted({*TRAINED, *(folder.name for folder in shipped if store.is_stored(folder))})


def trained(recipe: str, root: Path, options: RunOptions, tell: Callable[[str], None]) -> Path:
    """The teacher that a recipe makes: trained once, cached by the recipe's fingerprint, shared by all backends."""
    from experiments.config import recipe_spec
    from experiments.distilling import NoRecorder, prepare
    from experiments.tracking.locks import FileLock

    spec = recipe_spec(recipe)
    folder = root / "teachers" / f"{recipe}-{spec.fingerprint}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    if not lock.acquire():
        tell(f"waiting for another process that trains the teacher {recipe!r}")
        if not lock.acquire(timeout=_PATIENCE):
            raise TimeoutError(f"another process has been training {folder} for {_PATIENCE:.0f} s")
    try:
        if not store.is_stored(folder):
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


def build_all(spec: DistillSpec, folders: Sequence[Path | None], splits: Splits) -> list[Model]:
    """Build the teachers with their weights.

    Raises:
        UserError: a teacher without weights, or one whose classes are not the data's.
    """
    return [
        _stored(folder, splits, size) if folder else _built(teacher, spec, splits, size)
        for teacher, folder, size in zip(spec.teachers, folders, spec.teacher_sizes, strict=True)
    ]


def digest(model: Model) -> str:
    """The SHA-256 of a model's parameters and their names, in hexadecimal digits."""
    import keras

    from framework.models.initial import parameters

    sha256 = hashlib.sha256()
    for name, variable in parameters(model).items():
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        sha256.update(f"{name} {array.dtype} {variable.shape}".encode() + array.tobytes())
    return sha256.hexdigest()


def fill(model: Model, path: Path, num_classes: int) -> None:
    """Assign a stored model's weights; its head is left out where it has another number of classes.

    Args:
        model: a built Keras model.
        path: a stored model's folder, or a `.safetensors` or `.npz` file; its head is `head/...`.
        num_classes: of `model`.

    Raises:
        UserError: nothing readable is there, or names and shapes don't fit.
    """
    from framework.models.initial import assign

    arrays = store.load_weights(path, store.load_card(path)) if store.is_stored(path) else _arrays(path)
    head = arrays.get("head/bias")
    other = head is not None and head.shape != (num_classes,)
    try:
        assign(model, arrays, ("head/.*",) if other else ())
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


def _stored(folder: Path, splits: Splits, size: int) -> Model:
    from framework.models import catalog
    from framework.models.initial import assign

    card = store.load_card(folder)
    if card.classes and splits.classes and card.classes != splits.classes:
        raise UserError(_other_classes(card.classes, splits))
    model = catalog.build(card.name, card.options, card.num_classes, size, 0)
    assign(model, store.load_weights(folder, card))
    return model


def _other_classes(classes: tuple[str, ...], splits: Splits) -> str:
    assert splits.classes is not None
    if len(classes) != len(splits.classes):
        return f"the teacher knows {len(classes)} classes, but data {splits.name!r} have {len(splits.classes)}"
    first = next(i for i, (ours, theirs) in enumerate(zip(classes, splits.classes, strict=True)) if ours != theirs)
    return f"the teacher's class {first} is {classes[first]!r}, in data {splits.name!r} it is {splits.classes[first]!r}"


def _built(teacher: TeacherSpec, spec: DistillSpec, splits: Splits, size: int) -> Model:
    from framework.models import catalog

    if teacher.name in catalog.MODELS and teacher.weights is None:
        known = ", ".join(stored_names())
        raise UserError(
            f"teacher.name = {teacher.name!r} has no weights: give teacher.weights, or a stored one: {known}"
        )
    if splits.classes is None:
        raise UserError("data without labels: the number of classes is the stored teacher's; give a stored teacher")
    model = catalog.build(teacher.name, teacher.options, len(splits.classes), size, spec.seed)
    if teacher.weights is not None:
        fill(model, Path(teacher.weights), len(splits.classes))
    return model

"""Teachers by name: shipped with the project, trained when missing, or any stored model's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.tracking.journal import default_root
from framework import download, store
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


def build_all(
    spec: DistillSpec, folders: Sequence[Path | None], splits: Splits, root: Path | None = None
) -> list[Model]:
    """Build the teachers with their weights; `root` is the folder for caches, by default where runs go.

    Raises:
        UserError: a teacher without weights, or one whose classes are not the data's.
    """
    return [
        _stored(folder, splits) if folder else _built(teacher, spec, splits, root)
        for teacher, folder in zip(spec.teachers, folders, strict=True)
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


def located(weights: str, root: Path | None = None) -> Path:
    """Where a model's `weights` are: the path itself, or the copy of what a URL names, fetched when first asked for.

    Raises:
        UserError: it can't be fetched, or is another file than the one expected.
    """
    if not download.is_url(weights):
        return Path(weights).expanduser()
    return download.fetch(weights, (root or default_root()) / "cache" / "weights").path


def weights_hashes(spec: DistillSpec, root: Path | None = None) -> dict[str, dict[str, str]]:
    """Each model's `weights` with their SHA-256, by `"student"` and `"teacher0"`; what has none is left out."""
    models = {"student": spec.student, **{f"teacher{place}": each for place, each in enumerate(spec.teachers)}}
    found = {}
    for who, model in models.items():
        if model.weights is not None:
            path = located(model.weights, root)
            found[who] = {"source": model.weights, "sha256": store.sha256(_file(path))}
    return found


def _file(path: Path) -> Path:
    return path / store.WEIGHTS if path.is_dir() else path


def fill(model: Model, path: Path, num_classes: int, dont_load: Sequence[str] = ()) -> None:
    """Assign a stored model's weights; its head is left out where it has another number of classes.

    Args:
        model: a built Keras model.
        path: a stored model's folder, or a `.safetensors` or `.npz` file; its head is `head/...`.
        num_classes: of `model`.
        dont_load: regular expressions of names that keep the values they have.

    Raises:
        UserError: nothing readable is there, or names and shapes don't fit.
    """
    from framework.models.initial import assign

    arrays = store.load_weights(path, store.load_card(path)) if store.is_stored(path) else _arrays(path)
    head = arrays.get("head/bias")
    other = head is not None and head.shape != (num_classes,)
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


def _stored(folder: Path, splits: Splits) -> Model:
    from framework.models import catalog
    from framework.models.initial import assign

    card = store.load_card(folder)
    if card.classes and splits.classes and card.classes != splits.classes:
        raise UserError(_other_classes(card.classes, splits))
    model = catalog.build(card.name, card.options, card.num_classes, card.image_size, 0)
    assign(model, store.load_weights(folder, card))
    return model


def _other_classes(classes: tuple[str, ...], splits: Splits) -> str:
    assert splits.classes is not None
    if len(classes) != len(splits.classes):
        return f"the teacher knows {len(classes)} classes, but data {splits.name!r} have {len(splits.classes)}"
    first = next(i for i, (ours, theirs) in enumerate(zip(classes, splits.classes, strict=True)) if ours != theirs)
    return f"the teacher's class {first} is {classes[first]!r}, in data {splits.name!r} it is {splits.classes[first]!r}"


def _built(teacher: TeacherSpec, spec: DistillSpec, splits: Splits, root: Path | None) -> Model:
    from framework.models import catalog

    if teacher.weights is None and catalog.is_untrained(teacher.name, teacher.options):
        known = ", ".join(stored_names())
        raise UserError(
            f"teacher.name = {teacher.name!r} has no weights: give teacher.weights, or a stored one: {known}"
        )
    if splits.classes is None:
        raise UserError("data without labels: the number of classes is the stored teacher's; give a stored teacher")
    model = catalog.build(teacher.name, teacher.options, len(splits.classes), spec.views.size, spec.seed)
    if teacher.weights is not None:
        fill(model, located(teacher.weights, root), len(splits.classes), teacher.dont_load)
    return model

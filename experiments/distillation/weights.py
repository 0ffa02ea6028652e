"""Files of weights: where they are, what identifies them, and the models that are filled with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from experiments.distillation.telling import Tell, nobody
from experiments.tracking.folders import default_root
from framework.errors import UserError
from framework.files import download, stored
from framework.files.arrays import digest as file_digest
from framework.files.paths import path_of
from framework.spec import DistillSpec, ModelSpec, TeacherSpec

if TYPE_CHECKING:
    from keras import Model

Model_ = TypeVar("Model_", ModelSpec, TeacherSpec)


def digest(model: Model) -> str:
    """The SHA-256 of a model's parameters and their names, in hexadecimal digits."""
    import keras

    from framework.models.initial import parameters

    sha256 = hashlib.sha256()
    for name, variable in parameters(model).items():
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        sha256.update(f"{name} {array.dtype} {variable.shape}".encode() + array.tobytes())
    return sha256.hexdigest()


def located(weights: str, root: Path | None) -> Path:
    """Where a model's `weights` are: the path itself, or the copy of what a URL names, fetched when first asked for.

    Raises:
        UserError: it can't be fetched, or is another file than the one expected.
    """
    if not download.is_url(weights):
        return path_of(weights)
    return download.fetch(weights, folder(root)).path


def folder(root: Path | None) -> Path:
    """Where downloaded weights are kept."""
    return (root or default_root()) / "cache" / "weights"


def hashes(spec: DistillSpec, root: Path | None = None) -> dict[str, dict[str, str]]:
    """Each model's `weights` with their SHA-256, by `"student"` and `"teacher0"`; what has none is left out."""
    models = {"student": spec.student, **{f"teacher{place}": each for place, each in enumerate(spec.teachers)}}
    found = {}
    for who, model in models.items():
        if model.weights is not None:
            path = located(model.weights, root)
            source = download.public(model.weights) if download.is_url(model.weights) else model.weights
            file = path / stored.WEIGHTS if path.is_dir() else path
            found[who] = {"source": source, "sha256": file_digest(file)}
    return found


def to_be_stored(spec: DistillSpec, known: Mapping[str, Mapping[str, str]]) -> DistillSpec:
    """The spec with addresses of weights that may be written down; `known` as `hashes` gives them."""

    def public(who: str, model: Model_) -> Model_:
        if model.weights is None or not download.is_url(model.weights):
            return model
        return replace(model, weights=download.to_be_stored(model.weights, known[who]["sha256"]))

    teachers = tuple(public(f"teacher{place}", each) for place, each in enumerate(spec.teachers))
    return spec.replace(student=public("student", spec.student), teachers=teachers)


def restored(folder: Path, card: stored.ModelCard, size: int) -> Model:
    """Build a stored model for views of `size` pixels.

    Raises:
        UserError: as in `framework.files.stored.load_weights` and `framework.models.catalog.build`.
    """
    from framework.models import catalog
    from framework.models.initial import assign

    model = catalog.build(card.name, card.options, card.num_classes, size, None)
    assign(model, stored.load_weights(folder, card))
    return model


def built(
    spec: ModelSpec, num_classes: int, size: int, seed: int, root: Path | None, own_head: bool, tell: Tell
) -> Model:
    """Build a model with the weights that its spec names; one of ours is drawn only where no file gives its values.

    Args:
        size: pixels of its views.
        seed: of what is drawn.
        own_head: whether a file's head of another number of classes may be left out, as `fill` does.
        tell: takes a line on what was matched.

    Raises:
        UserError: as in `fill` and `framework.models.catalog.build`.
    """
    from framework.models import catalog
    from framework.models.initial import initialise

    ours = spec.name in catalog.MODELS
    from_file = spec.weights is not None
    model = catalog.build(spec.name, spec.options, num_classes, size, None if ours and from_file else seed)
    if spec.weights is not None:
        kept = fill(model, located(spec.weights, root), num_classes if own_head else None, spec.dont_load, tell)
        if ours:
            initialise(model, seed, kept)
    return model


def fill(
    model: Model, path: Path, num_classes: int | None, dont_load: Sequence[str] = (), tell: Tell = nobody
) -> list[str]:
    """Assign a stored model's weights.

    Args:
        path: a stored model's folder, or a file that `framework.models.weights.read_any` reads; its head is `head/...`.
        num_classes: of `model`, whose head keeps its own values where the file's has another number; None takes all
            or nothing, as for a teacher, who can't teach with a head that was never trained.
        dont_load: regular expressions of names that keep the values they have.
        tell: takes a line on what was matched.

    Returns:
        The names that kept their values.

    Raises:
        UserError: nothing readable is there, or names and shapes don't fit.
    """
    from framework.models.foreign import DRAWS
    from framework.models.initial import assign, parameters
    from framework.models.matching import matched
    from framework.models.weights import read_any

    arrays = stored.load_weights(path, stored.load_card(path)) if stored.is_stored(path) else read_any(path)
    arrays, renamed = matched(arrays, {name: tuple(each.shape) for name, each in parameters(model).items()})
    if DRAWS not in arrays:
        # Our own counter of a wrapped module's random numbers, which no file of its library has.
        dont_load = (*dont_load, DRAWS)
    head = arrays.get("head/bias")
    other = head is not None and num_classes is not None and head.shape != (num_classes,)
    try:
        kept = assign(model, arrays, (*dont_load, "head/.*") if other else dont_load)
    except UserError as error:
        raise UserError(f"weights {str(path)!r}: {error}") from error
    tell(f"weights {str(path)!r}: {_told(len(arrays), renamed, head is not None and other)}")
    return kept


def _told(count: int, renamed: Sequence[str], other: bool) -> str:
    others = f", {len(renamed)} of them under other names, e.g. {renamed[0]}" if renamed else ""
    return f"{count} arrays fit{others}{'; not the head, which knows other classes' if other else ''}"

"""A stored student in use: `from experiments import load_student`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import backends
from experiments.distillation import weights
from experiments.distillation.answering import Answering, probabilities
from experiments.distillation.exported import SUFFIX, Exported, exported
from experiments.distillation.lineage import LATEST, folder_of
from experiments.distillation.naming import SHIPPED
from experiments.tracking.folders import is_number, run_folders
from framework.errors import UserError
from framework.files import stored
from framework.files.paths import path_of
from framework.files.stored import ModelCard
from framework.protocols import Array

if TYPE_CHECKING:
    from keras import Model


@dataclass(frozen=True)
class Student(Answering):
    """A trained Keras model, from views [B, S, S, 3] in [-1, 1] to logits [B, C], with what its predictions need."""

    model: Model
    card: ModelCard

    def answer(self, inputs: Sequence[Array], batch_size: int | None = None) -> Array:
        """See `Answering`."""
        # Batches of one size: a backend compiles once.
        padded = [*inputs, *[inputs[0]] * ((batch_size or len(inputs)) - len(inputs))]
        return self.logits(np.array(padded, np.float32))[: len(inputs)]

    def logits(self, views: Array) -> Array:
        """The logits float32 [B, C] of `preprocess`ed images [B, S, S, 3]."""
        if self.card.normalize:
            from keras import ops

            from framework.views import normalize

            views = ops.convert_to_numpy(normalize(ops.convert_to_tensor(views), self.card.normalize))
        return np.asarray(self.model.predict_on_batch(views), np.float32)

    def probabilities(self, views: Array) -> Array:
        """The probability of each class: float32 [B, C] from `preprocess`ed images [B, S, S, 3]."""
        return probabilities(self.logits(views))


def find_student(name: str, root: Path, uri: str | None = None) -> Path:
    """The folder of a stored student, or the `.onnx` file of an exported one.

    Args:
        name: the folder of a run or of a stored model, or a file in it; an `.onnx` file; `latest` or `best`; a run's
            uid (the beginning is enough) or its number in the database.
        uri: where the database is, as in `open_database`; it is asked only for `best`, for numbers and for names.

    Raises:
        UserError: there is no such run, or it has stored no student.
    """
    own = path_of(name)
    if own.suffix == SUFFIX and own.is_file():
        return own
    for folder in (own, own.parent if own.name in (stored.CARD, stored.WEIGHTS) else own, *_named(name, root)):
        for place in (folder, folder / "student"):
            if stored.is_stored(place):
                return place
    if any((place / stored.WEIGHTS).is_file() for place in (own, own / "student")):
        raise UserError(
            f"{name}: only the weights of a module that was handed over from Python are stored; a student given by "
            "name, student=package.module:function, can be built again"
        )
    if own.is_file():
        raise UserError(
            f"{name} is no stored model: expected latest, best, a run, the folder of a run or of a stored model, "
            f"or an {SUFFIX} file of experiments.export"
        )
    if name == LATEST or "/" in name or Path(name).is_dir():
        raise UserError(f"{name}: there is no stored student in {root if name == LATEST else Path(name).absolute()}")
    return _asked_for(name, root, uri)


def _named(name: str, root: Path) -> Iterator[Path]:
    """What is shipped, and then runs, the newest first."""
    yield SHIPPED / name
    for folder in reversed(run_folders(root)):
        if name == LATEST or (folder.name.startswith(name) and not is_number(name)):
            yield folder


def _asked_for(name: str, root: Path, uri: str | None) -> Path:
    """By number, by name or as the best: in the database, or in the journals where there is none."""
    from experiments.tracking import both, queries

    with both.opened(uri, False, root) as runs:
        number: int | str = name
        if name == "best":
            frame = queries.best(runs, "result.validation.student.accuracy", count=1)
            if not len(frame):
                raise UserError("best: no run has a validation accuracy yet")
            number = frame["uid"].iloc[0]
        document = queries.find_run(runs, number)
    folder = folder_of(document, root) / "student"
    if not stored.is_stored(folder):
        raise UserError(f"run {name} has stored no student that is on this machine ({folder})")
    return folder


def load_student(folder: Path | str, backend: str | None = None) -> Student | Exported:
    """Load a student.

    Args:
        folder: of a run, or of a stored model; or an `.onnx` file that `python -m experiments.export` has written,
            which runs on onnxruntime without any backend.
        backend: `jax`, `torch` or `tensorflow`; None takes the first that is installed.

    Raises:
        UserError: there is no stored model, or the backend is not installed.
    """
    place = path_of(folder)
    if place.suffix != SUFFIX:
        return on_backend(place, backend)
    if backend is not None:
        raise UserError(f"{place} runs on onnxruntime, not on backend = {backend!r}: leave the backend out")
    return exported(place)


def on_backend(folder: Path, backend: str | None) -> Student:
    """Load a stored student on a backend; arguments and errors as in `load_student`."""
    backends.load(backends.choose(backend))
    place = folder / "student" if stored.is_stored(folder / "student") else folder
    card = stored.load_card(place)
    try:
        return Student(weights.restored(place, card, card.image_size), card)
    except ModuleNotFoundError as error:  # of somebody else's function
        raise UserError(f"{place}: {card.name} needs {error.name}, which is not installed here") from error

"""A stored student in use: `from experiments import load_student`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import backends
from experiments.distillation.lineage import LATEST
from experiments.distillation.teachers import SHIPPED
from experiments.tracking.journal import RUNS, run_folders
from framework.data.decode import decode
from framework.data.hostviews import evaluation_view
from framework.data.loader import to_range
from framework.errors import UserError
from framework.files import stored
from framework.files.stored import ModelCard
from framework.protocols import Array

if TYPE_CHECKING:
    from keras import Model

Image = Array | Path | str


@dataclass(frozen=True)
class Student:
    """A trained model with what its predictions need.

    Attributes:
        model: the Keras model, from views [B, S, S, 3] in [-1, 1] to logits [B, C].
        card: what is known of it.
    """

    model: Model
    card: ModelCard

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its outputs, in order; their numbers where the data had no names."""
        return self.card.classes or tuple(map(str, range(self.card.num_classes)))

    def view(self, image: Image) -> Array:
        """The view by which an image was evaluated.

        Args:
            image: a path, or uint8 [H, W, 3].

        Returns:
            float32 [S, S, 3] in [-1, 1].

        Raises:
            BadImage: it can't be read.
        """
        pixels = image if isinstance(image, np.ndarray) else decode({"path": str(image), "bytes": None})
        size, resize = self.card.image_size, self.card.resize
        return to_range(evaluation_view(pixels, resize, None if resize is None else size, size))

    def preprocess(self, images: Sequence[Image]) -> Array:
        """The views of several images: float32 [B, S, S, 3] in [-1, 1]; arguments and errors as in `view`."""
        size = self.card.image_size
        return np.array([self.view(image) for image in images], np.float32).reshape(-1, size, size, 3)

    def probabilities(self, views: Array) -> Array:
        """The probability of each class: float32 [B, C] from `preprocess`ed images [B, S, S, 3]."""
        from scipy.special import softmax

        return softmax(np.asarray(self.model.predict_on_batch(views), np.float64), axis=-1).astype(np.float32)

    def predict(self, images: Sequence[Image], batch_size: int = 64) -> Array:
        """The probability of each class: float32 [B, C]; arguments and errors as in `view`."""
        starts = range(0, len(images), batch_size)
        found = [self.probabilities(self.preprocess(images[start : start + batch_size])) for start in starts]
        return np.concatenate([np.zeros((0, self.card.num_classes), np.float32), *found])


def find_student(name: str, root: Path, uri: str | None = None) -> Path:
    """The folder of a stored student.

    Args:
        name: the folder of a run or of a stored model; `latest` or `best`; a run's uid (the beginning is enough) or its
            number in the database.
        root: the folder of runs.
        uri: where the database is, as in `open_database`; it is asked only for `best` and for numbers.

    Raises:
        UserError: there is no such run, or it has stored no student.
    """
    for folder in (Path(name).expanduser(), SHIPPED / name, *_runs(name, root)):
        for place in (folder, folder / "student"):
            if stored.is_stored(place):
                return place
    if name == LATEST or "/" in name or Path(name).is_dir():
        raise UserError(f"{name}: there is no stored student in {root if name == LATEST else Path(name).absolute()}")
    return _in_database(name, root, uri)


def _runs(name: str, root: Path) -> Iterator[Path]:
    """The newest first."""
    for folder in reversed(run_folders(root)):
        # A number of the database has fewer digits than the day that a uid begins with.
        if name == LATEST or (folder.name.startswith(name) and (len(name) >= 8 or not name.isdigit())):
            yield folder


def _in_database(name: str, root: Path, uri: str | None) -> Path:
    from experiments.tracking import queries
    from experiments.tracking.mongod import open_database

    with open_database(uri, False, root, required=True) as destination:
        assert destination.database is not None
        number: int | str = name
        if name == "best":
            frame = queries.best(destination.database, "result.validation.student.accuracy", count=1)
            if not len(frame):
                raise UserError("best: no run has a validation accuracy yet")
            number = frame["uid"].iloc[0]
        document = queries.find_run(destination.database, number)
    folder = Path((document.get("journal") or {}).get("folder") or root / RUNS / str(document.get("uid"))) / "student"
    if not stored.is_stored(folder):
        raise UserError(f"run {name} has stored no student that is on this machine ({folder})")
    return folder


def load_student(folder: Path | str, backend: str | None = None) -> Student:
    """Load a student.

    Args:
        folder: of a run, or of a stored model.
        backend: `jax`, `torch` or `tensorflow`; None takes the first that is installed.

    Raises:
        UserError: there is no stored model, or the backend is not installed.
    """
    backends.load(backends.choose(backend))
    # These import Keras, which needs the backend to be loaded.
    from framework.models import catalog
    from framework.models.initial import assign

    place = Path(folder).expanduser()
    place = place / "student" if stored.is_stored(place / "student") else place
    card = stored.load_card(place)
    model = catalog.build(card.name, card.options, card.num_classes, card.image_size, None)
    assign(model, stored.load_weights(place, card))
    return Student(model, card)

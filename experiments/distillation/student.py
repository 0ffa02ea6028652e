"""A stored student in use: `from experiments import load_student`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import backends
from framework.data.decode import BadImage, decode
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

    def preprocess(self, images: Sequence[Image]) -> Array:
        """The views by which it was evaluated.

        Args:
            images: paths, or uint8 [H, W, 3].

        Returns:
            float32 [B, S, S, 3] in [-1, 1].

        Raises:
            UserError: an image can't be read.
        """
        size = self.card.image_size
        views = np.zeros((len(images), size, size, 3), np.float32)
        for image, view in zip(images, views, strict=True):
            to_range(evaluation_view(_pixels(image), None, None, size), view)
        return views

    def predict(self, images: Sequence[Image], batch_size: int = 64) -> Array:
        """The probability of each class: float32 [B, C]; images as in `preprocess`."""
        from keras import ops

        batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
        logits = [np.asarray(self.model.predict_on_batch(self.preprocess(batch)), np.float32) for batch in batches]
        wide = np.concatenate(logits) if logits else np.zeros((0, self.card.num_classes), np.float32)
        return np.asarray(ops.convert_to_numpy(ops.softmax(wide, axis=-1)))


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


def _pixels(image: Image) -> Array:
    if not isinstance(image, (str, Path)):
        return image
    try:
        return decode({"path": str(image), "bytes": None})
    except BadImage as error:
        raise UserError(f"{image}: {error}") from error

"""What answers for images, whatever computes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from framework.data.decode import decode
from framework.data.hostviews import evaluation_view, to_range
from framework.files.stored import ModelCard
from framework.protocols import Array

Image = Array | Path | str


class Answering:
    """What answers for images: a stored student on a backend, or an exported one without."""

    card: ModelCard

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its outputs, in order; their numbers where the data had no names."""
        return self.card.classes or tuple(map(str, range(self.card.num_classes)))

    def view(self, image: Image) -> Array:
        """The view by which an image, a path or uint8 [H, W, 3], was evaluated: float32 [S, S, 3] in [-1, 1].

        Raises:
            BadImage: it can't be read.
        """
        size, resize = self.card.image_size, self.card.resize
        return to_range(evaluation_view(pixels(image), resize, None if resize is None else size, size))

    def preprocess(self, images: Sequence[Image]) -> Array:
        """The views of several images: float32 [B, S, S, 3] in [-1, 1]; arguments and errors as in `view`."""
        size = self.card.image_size
        return np.array([self.view(image) for image in images], np.float32).reshape(-1, size, size, 3)

    def read(self, image: Image) -> Array:
        """What `answer` takes of an image; arguments and errors as in `view`."""
        return self.view(image)

    def answer(self, inputs: Sequence[Array], batch_size: int | None = None) -> Array:
        """The logits of images that were `read`: float32 [B, C], B at least 1.

        Args:
            inputs: the images.
            batch_size: of which a model computes the batch; what is missing is made up, so that it compiles once.
        """
        raise NotImplementedError

    def predict(self, images: Sequence[Image], batch_size: int = 64) -> Array:
        """The probability of each class: float32 [B, C]; arguments and errors as in `view`."""
        starts = range(0, len(images), batch_size)
        batches = ([self.read(image) for image in images[start : start + batch_size]] for start in starts)
        found = [probabilities(self.answer(batch)) for batch in batches]
        return np.concatenate([np.zeros((0, self.card.num_classes), np.float32), *found])


def pixels(image: Image) -> Array:
    """An image as uint8 [H, W, 3]: decoded, where it is a path; errors as in `Answering.view`."""
    return image if isinstance(image, np.ndarray) else decode({"path": str(image), "bytes": None})


def probabilities(logits_bc: Array) -> Array:
    """The softmax: float32 [B, C]."""
    from scipy.special import softmax

    return softmax(logits_bc.astype(np.float64), axis=-1).astype(np.float32)

"""What is exported: the student, what is known of its run, and the images on which the file is checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.distillation.lineage import started
from experiments.distillation.student import Student
from framework.data.source import Splits
from framework.errors import UserError
from framework.files import stored
from framework.files.stored import ModelCard
from framework.protocols import Array, Source
from framework.spec import DataSpec, DistillSpec

if TYPE_CHECKING:
    from keras import Model

    from framework.models.operations import Step

NUM_IMAGES = 64
# What the project can say; it has no say about the weights.
LICENCE = (
    "The project's code: Apache-2.0. The weights: whatever the data and the teacher allow, which this file doesn't know"
)
PHOTOGRAPHS = "parts of the two photographs that come with scikit-learn"


@dataclass(frozen=True)
class Subject:
    """A student that is to be exported.

    Attributes:
        student: loaded on a backend.
        folder: where it is stored.
        spec: of the run that made it; None where only the stored model is there.
        splits: the data of that run, or others that were asked for; None where there are none.
        why: there are none; empty where there are some.
    """

    student: Student
    folder: Path
    spec: DistillSpec | None
    splits: Splits | None
    why: str = ""

    @property
    def card(self) -> ModelCard:
        """The stored model's card, without the place of a file on this machine."""
        card = self.student.card
        return replace(card, name=Path(card.name).name) if card.name.endswith(".keras") else card

    @property
    def is_ours(self) -> bool:
        """Whether the model is one of the project's own, whose operations are known."""
        from framework.models.catalog import MODELS

        return self.card.name in MODELS

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The model as plain operations; raises `UserError` where it is none of ours."""
        from framework.models.plain import plain

        return plain(self.student.model, self.card.image_size)

    @property
    def signature(self) -> list[Any]:
        """Its input as Keras's exporters take it, by the name that users will see, whatever the model calls it."""
        import keras

        size = self.card.image_size
        return [keras.InputSpec(shape=(None, size, size, 3), dtype="float32", name="views")]

    @cached_property
    def stock(self) -> Model:
        """The model in Keras's own layers; somebody else's is taken as it is.

        Raises:
            UserError: it is no Keras model.
        """
        from framework.models.stock import stock

        if hasattr(self.student.model, "given"):  # it wraps a module of another library's
            raise UserError(
                f"{self.card.name} is no Keras model, and can't become one: "
                "--format onnx, safetensors or npz, or torch for a torch module"
            )
        return stock(self.steps, self.card.image_size, self.card.name) if self.is_ours else self.student.model

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Its parameters by name, float32; not our own counter of a wrapped module's random numbers."""
        from framework.models.foreign import DRAWS

        arrays = stored.load_weights(self.folder, self.card)
        return {name: array for name, array in arrays.items() if name != DRAWS}

    @property
    def images_from(self) -> str:
        """Where the images come from, in words."""
        if self.splits is None or self.measured is None:
            return PHOTOGRAPHS
        split, source = self.measured
        return f"{split} of {self.splits.name}, {source.num_examples} images"

    @cached_property
    def images(self) -> list[Array]:
        """The images that the file is checked on: uint8 [H, W, 3], of unequal sizes where the data's are."""
        if self.measured is None:
            return photographs(NUM_IMAGES)
        _, source = self.measured
        return [np.asarray(image) for image in source.images(spread(source.num_examples, NUM_IMAGES))]

    @cached_property
    def views(self) -> Array:
        """Their views: float32 [64, S, S, 3] in [-1, 1]."""
        return self.student.preprocess(self.images)

    @cached_property
    def logits(self) -> Array:
        """The student's own answer to them: float32 [64, C]."""
        return self.student.logits(self.views)

    @property
    def measured(self) -> tuple[str, Source] | None:
        """The split that is measured on, and what it is called."""
        if self.splits is None:
            return None
        named = {"test": self.splits.test, "validation": self.splits.validation, "train": self.splits.train}
        return next((name, source) for name, source in named.items() if source is not None)


def spread(count: int, limit: int) -> Array:
    """Up to `limit` of the examples, evenly: int64."""
    taken = min(count, limit)
    return np.arange(taken, dtype=np.int64) * count // taken


def photographs(count: int) -> list[Array]:
    """Parts of two photographs, of various sizes; always the same."""
    from sklearn.datasets import load_sample_images

    random, whole = np.random.default_rng(0), load_sample_images().images
    found = []
    for number in range(count):
        photograph = whole[number % 2]
        height, width = (int(random.integers(40, side)) for side in photograph.shape[:2])
        y = int(random.integers(0, photograph.shape[0] - height))
        x = int(random.integers(0, photograph.shape[1] - width))
        found.append(np.ascontiguousarray(photograph[y : y + height, x : x + width]))
    return found


def find(student: Student, folder: Path, data: str | None, root: Path) -> Subject:
    """Gather what is known of a stored student.

    Args:
        student: loaded from `folder`.
        folder: of the stored model, perhaps in that of its run.
        data: the data to check on instead of the run's, by name.
        root: the folder of runs, and of caches.

    Raises:
        UserError: `data` can't be read.
    """
    from framework import data as data_layer

    beginning = started(folder.parent)
    spec = DistillSpec.from_dict(beginning["spec"]) if "spec" in beginning else None
    own = None if spec is None else spec.data
    wanted = own if data is None else DataSpec(name=data)
    if wanted is None:
        return Subject(student, folder, spec, None, "a stored model doesn't know its data: give --data NAME")
    try:
        return Subject(student, folder, spec, data_layer.load(wanted, root / "cache"))
    except UserError as error:
        if data is not None:
            raise
        return Subject(student, folder, spec, None, f"the run's data can't be read: {error}")

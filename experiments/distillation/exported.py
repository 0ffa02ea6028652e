"""An exported student in use: an ONNX file on onnxruntime, without any backend."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from experiments.distillation.answering import Answering, Image, pixels
from framework.data.hostviews import evaluation_view
from framework.errors import UserError
from framework.files.stored import ModelCard
from framework.protocols import Array
from framework.spec.validation import build

SUFFIX = ".onnx"
# What an exported file says about itself: its student's card, and what its only input is called.
CARD, IMAGES, VIEWS = "model.json", "images", "views"
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
MISSING = 'onnxruntime is not installed: pip install -c constraints.txt -e ".[onnx]"'


@dataclass(frozen=True)
class Exported(Answering):
    """An exported student: its file, and onnxruntime's session of it."""

    path: Path
    session: Any
    card: ModelCard

    @property
    def model(self) -> NoReturn:
        """There is none: raises `UserError`."""
        raise UserError(f"{self.path}: an ONNX file has no Keras model; load_student of its run has one")

    @property
    def _input(self) -> str:
        return str(self.session.get_inputs()[0].name)

    def read(self, image: Image) -> Array:
        """See `Answering`: the pixels, unless the file takes views."""
        if self._input == VIEWS:
            return self.view(image)
        if self.card.resize is not None:
            return pixels(image)
        # The file leaves an image of the view's size as it is, and images of one size are computed together.
        size = self.card.image_size
        return evaluation_view(pixels(image), None, None, size).astype(np.uint8)

    def answer(self, inputs: Sequence[Array], batch_size: int | None = None) -> Array:
        """See `Answering`; images of one size are computed together."""
        del batch_size  # nothing is compiled
        logits = np.empty((len(inputs), self.card.num_classes), np.float32)
        shapes = [each.shape for each in inputs]
        for shape in dict.fromkeys(shapes):
            places = [place for place, other in enumerate(shapes) if other == shape]
            batch = np.stack([inputs[place] for place in places])
            (logits[places],) = self.session.run(["logits"], {self._input: batch})
        return logits


def exported(path: Path) -> Exported:
    """Open an exported student, an `.onnx` file that `python -m experiments.export` has written.

    Raises:
        UserError: there is no such file, or another one; or onnxruntime is not installed.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file (from {Path.cwd()})")
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError(f"{path}: {MISSING}")
    import onnxruntime

    # What it can't do faster than it could is nobody's business here.
    onnxruntime.set_default_logger_severity(3)
    providers = [name for name in _PROVIDERS if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # of kinds of its own, by what is in the file
        raise UserError(f"{path} is no ONNX file that onnxruntime can run: {error}") from error
    known = session.get_modelmeta().custom_metadata_map
    if CARD not in known:
        raise UserError(f"{path} doesn't say what its classes are: python -m experiments.export writes files that do")
    return Exported(path, session, build(ModelCard, json.loads(known[CARD])))

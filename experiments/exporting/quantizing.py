"""An ONNX file in whole numbers of eight bits, and what that costs: onnxruntime's static quantisation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.distillation.answering import Answering
from experiments.distillation.exported import exported
from experiments.exporting.quiet import quiet
from experiments.exporting.subject import Subject, spread
from framework.errors import UserError
from framework.protocols import Array

# Images from which the ranges of the activations are taken, and on which the result is measured at most.
NUM_CALIBRATING, NUM_MEASURED = 256, 2000
_BATCH = 64


def quantize(subject: Subject, path: Path) -> str:
    """Quantise a file in place: convolutions and the head; returns the lines on what it cost.

    Args:
        subject: the student; its training data give the ranges.
        path: what `to_onnx.write` wrote.

    Raises:
        UserError: there are no data to calibrate on.
    """
    if subject.splits is None or subject.measured is None:
        raise UserError(f"--quantize int8 needs training images to calibrate on, and {subject.why}")
    from onnxruntime.quantization import QuantType, quantize_static

    source = subject.splits.train
    images = source.images(spread(source.num_examples, NUM_CALIBRATING))
    student = exported(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, quiet():
        made = Path(folder) / path.name
        quantize_static(
            str(path),
            str(made),
            _Reader(student, [np.asarray(image) for image in images]),
            op_types_to_quantize=["Conv", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        made.replace(path)
    return f"Quantised to int8, on {len(images)} training images. {_cost(subject, exported(path))}"


class _Reader:
    """Hands the images over one at a time, as onnxruntime wants them."""

    def __init__(self, student: Answering, images: Sequence[Array]) -> None:
        name = student._input  # type: ignore[attr-defined]
        self._inputs = iter([{name: student.read(image)[None]} for image in images])

    def get_next(self) -> dict[str, Array] | None:
        """The next one; None after the last."""
        return next(self._inputs, None)


def _cost(subject: Subject, rounded: Answering) -> str:
    """What rounding has cost on the data's test images, in a sentence."""
    assert subject.splits is not None
    assert subject.measured is not None
    split, source = subject.measured
    ids = spread(source.num_examples, NUM_MEASURED)
    before, after = (np.concatenate(list(_first(each, source, ids))) for each in (subject.student, rounded))
    agreement = float((before == after).mean())
    told = f"It agrees with the student on {agreement:.2%} of {split} of {subject.splits.name}, {len(ids)} images"
    labels, classes = source.labels(ids), subject.splits.classes
    if labels is None or classes != subject.card.classes:
        return f"{told}."
    shares = [float((found == labels)[labels >= 0].mean()) for found in (before, after)]
    return f"{told}; accuracy {shares[0]:.2%} before, {shares[1]:.2%} after."


def _first(student: Answering, source: Any, ids: Array) -> Iterator[Array]:
    """The class that comes first for each image, a batch at a time."""
    for start in range(0, len(ids), _BATCH):
        images = source.images(ids[start : start + _BATCH])
        yield student.answer([student.read(np.asarray(image)) for image in images], _BATCH).argmax(-1)

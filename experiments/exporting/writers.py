"""A student in files that are no ONNX: its parameters by name, Keras's, what Keras's exporters write, and PyTorch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import backends
from experiments.exporting.quiet import quiet
from experiments.exporting.subject import LICENCE, Subject
from framework.errors import UserError
from framework.files.arrays import write_arrays
from framework.spec.validation import plain


def safetensors(subject: Subject, path: Path) -> list[Path]:
    """Write the parameters, convolutions [h, w, I, O]; the metadata have the model's card and a CRC32 of each array."""
    write_arrays(path, subject.arrays, {"model": plain(subject.card), "licence": LICENCE})
    return [path]


def npz(subject: Subject, path: Path) -> list[Path]:
    """Write the parameters, convolutions [h, w, I, O]; BiT's names and shapes are the authors'."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **subject.arrays)
    return [path]


def keras(subject: Subject, path: Path) -> list[Path]:
    """Write a file of Keras's own layers: from float32 views [B, S, S, 3] in [-1, 1] to logits [B, C]."""
    subject.stock.save(path)
    return [path]


def litert(subject: Subject, path: Path) -> list[Path]:
    """Write a LiteRT (TensorFlow Lite) file by Keras's exporter; views and logits as in `keras`."""
    return _exported(subject, path, "litert")


def savedmodel(subject: Subject, path: Path) -> list[Path]:
    """Write TensorFlow's SavedModel, a folder, by Keras's exporter; views and logits as in `keras`."""
    return _exported(subject, path, "tf_saved_model")


def _exported(subject: Subject, path: Path, form: str) -> list[Path]:
    with quiet():
        subject.stock.export(str(path), format=form, verbose=False, input_signature=subject.signature)
    return [path]


def torch(subject: Subject, path: Path) -> list[Path]:
    """Write a `torch.export` program `.pt2` that takes float32 views [B, 3, S, S], and its state dict, `.pt`."""
    backend = backends.load(backends.choose(None))
    if backend.write_program is None:
        raise UserError(f"--format torch: a program of PyTorch's is written on torch, and this is {backend.name}")
    steps = subject.steps if subject.is_ours else None
    return backend.write_program(subject.student.model, steps, subject.card.image_size, path)

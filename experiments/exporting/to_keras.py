"""A student as a `.keras` file of Keras's own layers, and what Keras's exporters make of that."""

from __future__ import annotations

from pathlib import Path

from experiments.exporting.quiet import quiet
from experiments.exporting.subject import Subject


def write(subject: Subject, path: Path) -> list[Path]:
    """Write the file; the model takes float32 views [B, S, S, 3] in [-1, 1] and gives logits [B, C]."""
    subject.stock.save(path)
    return [path]


def write_litert(subject: Subject, path: Path) -> list[Path]:
    """Write a LiteRT (TensorFlow Lite) file by Keras's exporter; views and logits as above."""
    return _exported(subject, path, "litert")


def write_savedmodel(subject: Subject, path: Path) -> list[Path]:
    """Write TensorFlow's SavedModel, a folder, by Keras's exporter; views and logits as above."""
    return _exported(subject, path, "tf_saved_model")


def _exported(subject: Subject, path: Path, form: str) -> list[Path]:
    with quiet():
        subject.stock.export(str(path), format=form, verbose=False, input_signature=subject.signature)
    return [path]

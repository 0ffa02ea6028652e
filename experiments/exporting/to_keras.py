"""A student as a `.keras` file of Keras's own layers, and what Keras's exporters make of that."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from experiments.exporting.subject import Subject


def write(subject: Subject, path: Path) -> list[Path]:
    """Write the file; the model takes float32 views [B, S, S, 3] in [-1, 1] and gives logits [B, C]."""
    subject.stock.save(path)
    return [path]


def write_litert(subject: Subject, path: Path) -> list[Path]:
    """Write a LiteRT (TensorFlow Lite) file by Keras's exporter; views and logits as above."""
    # It prints what it does, whatever it is told.
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        subject.stock.export(str(path), format="litert", verbose=False)
    return [path]

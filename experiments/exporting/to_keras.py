"""A student as a `.keras` file of Keras's own layers."""

from __future__ import annotations

from pathlib import Path

from experiments.exporting.subject import Subject


def write(subject: Subject, path: Path) -> list[Path]:
    """Write the file; the model takes float32 views [B, S, S, 3] in [-1, 1] and gives logits [B, C]."""
    subject.stock.save(path)
    return [path]

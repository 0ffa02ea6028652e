"""A student's parameters by name: convolutions [h, w, I, O]; BiT's names and shapes are the authors'."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.exporting.subject import LICENCE, Subject
from framework.files.arrays import write_arrays
from framework.spec.validation import plain as plain_values


def write_safetensors(subject: Subject, path: Path) -> list[Path]:
    """Write a `.safetensors` file; its metadata have the model's card and a CRC32 of each array."""
    write_arrays(path, subject.arrays, {"model": plain_values(subject.card), "licence": LICENCE})
    return [path]


def write_npz(subject: Subject, path: Path) -> list[Path]:
    """Write an `.npz` file."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **subject.arrays)
    return [path]

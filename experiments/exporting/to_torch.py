"""A student as a program of PyTorch's own, and its state dict beside it."""

from __future__ import annotations

from pathlib import Path

import backends
from experiments.exporting.subject import Subject
from framework.errors import UserError


def write(subject: Subject, path: Path) -> list[Path]:
    """Write a `torch.export` program `.pt2` that takes float32 views [B, 3, S, S], and its state dict, `.pt`."""
    backend = backends.load(backends.choose(None))
    if backend.write_program is None:
        raise UserError(f"--format torch: a program of PyTorch's is written on torch, and this is {backend.name}")
    steps = subject.steps if subject.is_ours else None
    return backend.write_program(subject.student.model, steps, subject.card.image_size, path)

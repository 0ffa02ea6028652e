"""What people run: `python -m experiments` lists the commands; `distill` and `load_student` are for Python."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from experiments.command.interrupts import hush

hush()
# Sacred's import of pkg_resources warns each time; setuptools is pinned below its removal.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

if TYPE_CHECKING:
    from experiments.distillation.python import distill
    from experiments.distillation.student import load_student

__all__ = ["distill", "load_student"]


# Lazily, so that reading a run's numbers does not wait for the data layer.
_HOMES = {"distill": "experiments.distillation.python", "load_student": "experiments.distillation.student"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'experiments' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def _choose_keras_backend() -> None:
    """Let Keras, where it is imported next to build a model, run on what is installed, and not on its own default."""
    import backends

    installed = backends.installed()
    if "keras" not in sys.modules and installed:
        os.environ.setdefault("KERAS_BACKEND", installed[0])


_choose_keras_backend()

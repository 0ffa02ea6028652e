"""The backends. `load` alone knows their names; no backend knows another."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import cast

from backends.base import Backend
from backends.stderr import held_back
from framework.errors import UserError, near

# Our name for a backend, and the module that must be there for it.
BACKENDS = {"jax": "jax", "torch": "torch", "tensorflow": "tensorflow"}
# What else they are called.
_ALIASES = {"tf": "tensorflow", "pytorch": "torch"}


def canonical(name: str) -> str:
    """Our name for a backend, `tensorflow` for `tf` and `TensorFlow`; what is unknown stays as it is."""
    known = _ALIASES.get(name.lower(), name.lower())
    return known if known in BACKENDS else name


def installed() -> tuple[str, ...]:
    """The backends whose library can be imported here, without importing it."""
    return tuple(name for name, module in BACKENDS.items() if importlib.util.find_spec(module) is not None)


def choose(name: str | None = None) -> str:
    """A backend's name, checked: the one asked for, else the one Keras already runs on here, else the first installed.

    Raises:
        UserError: an unknown name, or a backend that is not installed.
    """
    if name is None and "keras" in sys.modules:
        name = str(sys.modules["keras"].config.backend())
        if name not in BACKENDS:
            raise UserError(
                f"Keras runs on {name!r} in this process, which trains nothing here: {_anew('|'.join(BACKENDS))}"
            )
    name = name and canonical(name)
    if name is not None and name not in BACKENDS:
        raise UserError(f"backend = {name!r}: {near(name, BACKENDS)}")
    here = installed()
    if name is None and here:
        return here[0]
    if name not in here:
        wanted = name or "jax"
        others = f" (installed: {', '.join(here)})" if here else ""
        raise UserError(f'backend {wanted!r} is not installed{others}: pip install -c constraints.txt -e ".[{wanted}]"')
    return name


def _anew(names: str) -> str:
    """How a process comes to another backend than the one that Keras has."""
    return f"start Python anew with KERAS_BACKEND={names} set before Keras is imported"


def load(name: str) -> Backend:
    """Import a backend; one process has one, because Keras fixes its backend when it is first imported.

    Args:
        name: `jax`, `torch` or `tensorflow`.

    Raises:
        UserError: an unknown name, a backend that is not installed, or Keras already imported with another one.
    """
    name = choose(name)
    if "keras" in sys.modules:
        running = sys.modules["keras"].config.backend()
        if running != name:
            stay = "leave backend= out, or " if running in BACKENDS else ""
            raise UserError(
                f"backend = {name!r}: Keras already runs on {running!r} in this process: {stay}{_anew(name)}"
            )
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with held_back():
        backend = cast(Backend, importlib.import_module(f"backends.{name}").BACKEND)
    from framework import kernels
    from framework.models import calls, catalog, weights

    kernels.install(backend.kernels)
    catalog.install_wrapper(backend.wrap)
    weights.install_reader(backend.read_weights)
    calls.install_call(backend.call)
    return backend

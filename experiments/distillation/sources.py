"""The files of a user's own functions (`package.module:function`): what is in them determines the result."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from experiments.tracking.snapshot import project_files
from framework.errors import UserError
from framework.files.arrays import digest
from framework.spec import DistillSpec
from framework.spec.named import imported

# Their versions are written down, and their sources are nobody's own.
_KNOWN = ("framework", "backends", "experiments", "keras")
_INSTALLED = ("site-packages", "dist-packages")


def own(spec: DistillSpec) -> dict[str, Path]:
    """By import path the file of each function of the user's own that a spec names; those of installed packages not."""
    return {name: file for name in _named(spec) if (file := _file(name)) is not None}


def _named(spec: DistillSpec) -> Iterator[str]:
    models = (spec.student.name, *(teacher.name for teacher in spec.teachers))
    for name in dict.fromkeys((spec.loss.distance, *spec.views.augmentations, *models)):
        module, colon, function = name.partition(":")
        parts = module.split(".")
        if colon and function.isidentifier() and all(map(str.isidentifier, parts)) and parts[0] not in _KNOWN:
            yield name


def _file(name: str) -> Path | None:
    try:
        function = imported(name, "name")
    except UserError:
        # A stored teacher whose folder is called so.
        return None
    found = _defined_in(function) or getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    file = Path(found) if found else None
    return file if file and file.is_file() and not {*_INSTALLED} & {*file.parts} else None


def _defined_in(function: Callable[..., Any]) -> str | None:
    """Where it is written, however it is wrapped; that may be another module than the one that has its name."""
    while isinstance(function, partial):
        function = function.func
    try:
        return inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None


def captured(spec: DistillSpec) -> dict[str, Path]:
    """All the sources that a run is made of, by name: ours, the user's own modules, and what these have imported.

    A module of the user's own is named from the folder that it is imported from; what is loaded from below that folder
    is its own as well, installed packages not.
    """
    files = project_files()
    ours = set(files.values())
    for file in own(spec).values():
        top = _top(file)
        for path in (file, *_loaded_from(top)):
            if path not in ours:
                name = path.relative_to(top).as_posix()
                files[name if files.get(name, path) == path else path.as_posix()] = path
    return files


def _top(file: Path) -> Path:
    """The folder that a module's full name begins in."""
    name = next((name for name, module in [*sys.modules.items()] if getattr(module, "__file__", None) == str(file)), "")
    depth = name.count(".") + (file.name == "__init__.py")
    return file.parents[depth]


def _loaded_from(top: Path) -> Iterator[Path]:
    files = (getattr(module, "__file__", None) for module in [*sys.modules.values()])
    for path in {Path(file) for file in files if file and file.endswith(".py")}:
        if path.is_relative_to(top) and not {*_INSTALLED} & {*path.parts} and path.is_file():
            yield path


def identified(spec: DistillSpec) -> DistillSpec:
    """The spec with a hash of each such file in `sources`."""
    return spec.replace(sources=tuple(f"{name} {digest(file)[:16]}" for name, file in sorted(own(spec).items())))


def keep(spec: DistillSpec, folder: Path) -> list[Path]:
    """Copy the files into a run's folder; returns the copies."""
    kept = []
    for name, file in own(spec).items():
        folder.mkdir(parents=True, exist_ok=True)
        kept.append(folder / f"{name.partition(':')[0]}{file.suffix}")
        shutil.copyfile(file, kept[-1])
    return list(dict.fromkeys(kept))

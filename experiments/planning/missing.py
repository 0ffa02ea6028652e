"""What a machine lacks for a run: data, weights, a backend, an accelerator, room on the disk. Nothing is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import backends
from backends.base import Backend, Device
from experiments.distillation import naming, packaged
from experiments.distillation.options import RunOptions
from experiments.distillation.weights import folder as weights_folder
from framework.data.catalog import CATALOG
from framework.data.counts import Counts
from framework.data.offline import PACKAGES
from framework.data.origins import is_hub
from framework.data.resolve import DECODED_LIMIT
from framework.errors import UserError
from framework.files import download, stored
from framework.files.paths import path_of
from framework.spec import DistillSpec

# Arithmetic that no CPU does in a day.
_MUCH = 1e16
_PHOTO_BYTES = 375 * 500 * 3


def backend_of(spec: DistillSpec, options: RunOptions) -> tuple[Backend, Device, list[str]]:
    """The backend and device of a run, or the next best ones, with what is missing of the ones asked for.

    Raises:
        UserError: a backend of that name doesn't exist, or none is installed.
    """
    lacking = []
    try:
        name = backends.choose(options.backend)
    except UserError as error:
        if options.backend not in backends.BACKENDS:
            raise
        lacking.append(str(error))
        name = backends.choose(None)
    backend = backends.load(name)
    try:
        device = backend.configure(options.settings(spec))
    except UserError as error:
        lacking.append(str(error))
        device = backend.configure(replace(options, device=None).settings(spec))
    return backend, device, lacking


def things(spec: DistillSpec, counts: Counts, root: Path, room: int, work: float, device: Device) -> Iterator[str]:
    """What is not here, a line each.

    Args:
        spec: the distillation.
        counts: its data.
        root: where runs and caches go.
        room: bytes that the run writes.
        work: its arithmetic in all, in FLOP.
        device: where it would run.
    """
    for name in filter(None, (spec.data.name, spec.data.train_from)):
        yield from _data(name)
    for teacher in spec.teachers:
        if teacher.name in naming.TRAINED and not stored.is_stored(naming.trained_folder(teacher.name, root)):
            yield f"the teacher {teacher.name!r}: it is trained first, once, with {naming.TRAINED[teacher.name]}"
        if teacher.name in packaged.PACKAGED and not stored.is_stored(packaged.folder(teacher.name, root)):
            problem = packaged.lacking(teacher.name)
            yield from [f"the teacher {teacher.name!r}: {problem}"] if problem else []
    for weights in filter(None, (spec.student.weights, *(teacher.weights for teacher in spec.teachers))):
        yield from _weights(weights, root)
    if device.kind == "cpu" and work > _MUCH:
        yield f"an accelerator: {work / 1e15:,.0f} PFLOP would keep a CPU busy for days"
    yield from _disk(counts, root, room, is_hub(spec.data.name))


def _data(name: str) -> Iterator[str]:
    if not is_hub(name):
        return
    from datasets import config

    copies = Path(config.HF_DATASETS_CACHE)
    wanted = name.replace("/", "___").lower()
    if not any(copy.name.lower() == wanted for copy in (copies.iterdir() if copies.is_dir() else ())):
        note = f" ({CATALOG[name].note})" if name in CATALOG and CATALOG[name].note else ""
        other = f"; or {PACKAGES[name]}" if name in PACKAGES else ""
        yield f"data {name}: not in {copies}, it is downloaded from the hub{note}{other}"


def _weights(weights: str, root: Path) -> Iterator[str]:
    folder = weights_folder(root)
    if download.is_url(weights):
        if not download.is_here(weights, folder):
            yield f"weights {download.public(weights)}: not in {folder}, they are downloaded"
    elif not path_of(weights).exists():
        yield f"weights {weights}: there is no such file"


def _disk(counts: Counts, root: Path, room: int, hub: bool) -> Iterator[str]:
    """Pixels are kept decoded where they fit: for data that are not here, as if all were photographs."""
    splits = [count for count in (counts.train, counts.validation, counts.test) if count] if hub else []
    needed = room + sum(count * _PHOTO_BYTES for count in splits if count * _PHOTO_BYTES < DECODED_LIMIT)
    place = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        yield f"room on the disk: about {needed / 1e9:.1f} GB are written below {root}, {free / 1e9:.1f} GB are free"

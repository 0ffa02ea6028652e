"""Targets made before the training: the mean prediction over many crops (paper, section 3.1.1: `fix/ic_ens`).

The paper averages predictions and does not say of which kind; the authors released no code for it. Here probabilities
are averaged, those of the softmax at T = 1, and their logarithm takes the place of the teacher's logits. Crops, flips
and added augmentations are drawn as the student's are, from a stream of their own. Shapes: N examples, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from framework.data.bar import image_bar
from framework.data.loader import Loader
from framework.draws.views import TARGET_STREAM, view_draws
from framework.files.arrays import DamagedFile, read_arrays, write_arrays
from framework.protocols import Array, Batch, Draws, Trainer
from framework.spec import DistillSpec
from framework.spec.validation import plain

VERSION = 1  # of the files and of what they hold: another number makes all targets anew
CHUNK = 32  # examples in one file: at most so many are lost with a run that ends early


def make(loader: Loader, trainer: Trainer, teachers: Sequence[str], cache: Path) -> list[Array]:
    """The targets of a training split, from the cache as far as they are there; another process's are waited for.

    Args:
        loader: cuts the views; its spec's teaching averages.
        trainer: has the teachers.
        teachers: the SHA-256 of each.
        cache: the cache folder.

    Returns:
        For each teacher float32 [N, C], logarithms of probabilities.
    """
    from filelock import FileLock

    source, crops = loader.source, loader.spec.views.target_crops
    folder = cache / "targets" / key_of(loader.spec, source.fingerprint, teachers)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"), image_bar(source.num_examples * crops, f"targets of {source.name}") as bar:
        chunks = [_chunk(loader, trainer, folder, start, bar) for start in range(0, source.num_examples, CHUNK)]
    return [np.concatenate(arrays) for arrays in zip(*chunks, strict=True)]


def _chunk(loader: Loader, trainer: Trainer, folder: Path, start: int, bar: Any) -> list[Array]:
    """The targets of the examples from `start` on, made and stored where they are not."""
    path, ids = folder / f"{start:09d}.safetensors", np.arange(start, min(start + CHUNK, loader.source.num_examples))
    try:
        arrays, _ = read_arrays(path)
        bar.update(len(ids) * loader.spec.views.target_crops)
    except (FileNotFoundError, DamagedFile):
        made = mean_logits(loader, trainer, ids, bar)
        arrays = {f"teacher{index}": array for index, array in enumerate(made)}
        write_arrays(path, arrays, {})
    return [arrays[f"teacher{index}"] for index in range(len(arrays))]


def mean_logits(loader: Loader, trainer: Trainer, ids: Array, bar: Any) -> list[Array]:
    """Each teacher's mean prediction for some examples, as logarithms of probabilities: float32 [B, C].

    Args:
        loader: cuts the views.
        trainer: has the teachers.
        ids: int64 [B].
        bar: told of each batch by `update`.
    """
    from scipy.special import softmax

    crops = loader.spec.views.target_crops
    sums: list[Array] = []
    for places, batch in _batches(loader, ids):
        logits = trainer.teach(batch)
        sums = sums or [np.zeros((len(ids), each.shape[1])) for each in logits]
        for total, each in zip(sums, logits, strict=True):
            np.add.at(total, places, softmax(each[: len(places)].astype(np.float64), axis=1))
        bar.update(len(places))
    smallest = np.finfo(np.float64).tiny
    return [np.log(np.maximum(total / crops, smallest)).astype(np.float32) for total in sums]


def _batches(loader: Loader, ids: Array) -> Iterator[tuple[Array, Batch]]:
    """All crops of all examples in batches of one size, with the place [B] of each crop's example in `ids`."""
    crops, size = loader.spec.views.target_crops, loader.spec.evaluation.batch_size
    for start in range(0, len(ids) * crops, size):
        numbers = np.arange(start, min(start + size, len(ids) * crops))
        places = numbers // crops
        # The last batch is filled with its own first crop.
        padded = np.concatenate([numbers, np.full(size - len(numbers), start)])
        yield places, _batch(loader, ids[padded // crops], padded % crops)


def _batch(loader: Loader, ids: Array, crops: Array) -> Batch:
    spec, source = loader.spec, loader.source
    draws = view_draws(spec, TARGET_STREAM, ids, crops, source.sizes(ids))
    distinct, places = np.unique(ids, return_inverse=True)
    images = list(source.images(distinct))  # each is decoded once
    return loader.shown([images[place] for place in places], Draws(draws, draws, 1.0))


def key_of(spec: DistillSpec, data: str, teachers: Sequence[str]) -> str:
    """32 hexadecimal digits over all that determines the targets.

    Args:
        spec: its views, teachers' input ranges and classes, seed and precision count.
        data: the split's fingerprint.
        teachers: the SHA-256 of each teacher.
    """
    names = ("area", "aspect", "flip", "truncate", "augmentations", "target_crops")
    views = {name: plain(getattr(spec.views, name)) for name in names} | {"sizes": list(spec.teacher_sizes)}
    ranges = [[teacher.normalize, teacher.classes] for teacher in spec.teachers]
    parts = [VERSION, data, list(teachers), ranges, views, spec.seed, spec.precision]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

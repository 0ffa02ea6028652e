"""Which classes have images, and what is told of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from framework.data.classes import plain_name
from framework.data.source import Splits
from framework.errors import UserError, few, some
from framework.protocols import Array, Source
from framework.spec import DataSpec

_SHOWN = 5  # class names


def check_presence(spec: DataSpec, classes: tuple[str, ...], labels: Mapping[str, Array]) -> tuple[str, ...]:
    """Notes on classes without an image in a split.

    Args:
        spec: the data set; its `missing_classes` allows classes without a training image.
        classes: the class names.
        labels: by role int [N], -1 where an image has none.

    Raises:
        UserError: there is one class only, or a class without a training image.
    """
    if len(classes) < 2:
        raise UserError(
            f"data {spec.name!r} has one class only, {classes[0]!r}: give the folder or column with all classes, or "
            "data.labels=none to distil without labels"
        )
    notes = _look_alikes(spec.name, classes)
    for role, array in labels.items():
        missing = int((array < 0).sum())
        if 0 < missing < len(array):
            told = some(missing, f"{role} image has", f"{role} images have")
            notes += (f"{spec.name}: {told} no label, of {len(array)}",)
    counts = {role: np.bincount(array[array >= 0], minlength=len(classes)) for role, array in labels.items()}
    for role, count in counts.items():
        absent = np.flatnonzero(count == 0)
        if not len(absent):
            continue
        which = few(classes[number] for number in absent)
        if role != "train":
            told = f"{role} has no image of {which}" if count.any() else f"no {role} image has a label"
            notes += (f"{spec.name}: {told}",)
            continue
        elsewhere = [f"{count[absent].sum()} in {other}" for other, count in counts.items() if count[absent].any()]
        message = f"no training image of {which}" + (f" (but {', '.join(elsewhere)})" if elsewhere else "")
        if spec.missing_classes == "error":
            raise UserError(f"data {spec.name!r}: {message}; data.missing_classes=allow trains without")
        notes += (f"{spec.name}: {message}",)
    return notes


def _look_alikes(name: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A note on classes that differ in case, spaces or signs alone."""
    alike: dict[str, list[str]] = {}
    for each in classes:
        alike.setdefault(plain_name(each), []).append(each)
    pairs = [" and ".join(map(repr, names)) for plain, names in alike.items() if plain and len(names) > 1]
    if not pairs:
        return ()
    more = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else ""
    return (f"{name}: the classes {pairs[0]} have nearly one name{more}, and are taken as different classes",)


def named_classes(classes: Sequence[str]) -> str:
    """How many classes there are, and the names of the first."""
    names = ", ".join(classes[:_SHOWN]) + (", ..." if len(classes) > _SHOWN else "")
    return f"{len(classes)} classes: {names}"


def summary(splits: Splits, left_out: str) -> str:
    """One line on a data set: images, classes, training images a class, files left out."""
    others = (("to validate", splits.validation), ("to test", splits.test))
    parts = [f"{splits.train.num_examples} images to train"]
    parts += [f"{source.num_examples} {what}" for what, source in others if source is not None]
    if splits.classes is not None:
        parts.append(named_classes(splits.classes) + _per_class(splits.train, len(splits.classes)))
    told = f"data {splits.name}: {', '.join(parts)}"
    return f"{told}; left out: {left_out}" if left_out else told


def _per_class(train: Source, num_classes: int) -> str:
    labels = train.labels(np.arange(train.num_examples))
    if labels is None:
        return ""
    counts = np.bincount(labels[labels >= 0], minlength=num_classes)
    fewest, most = int(counts.min()), int(counts.max())
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"; {each} training images a class"

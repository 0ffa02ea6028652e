"""How many examples a data set has, without decoding or downloading anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from framework.data.catalog import CATALOG
from framework.data.offline import INSTALLED, OFFLINE, is_installed
from framework.data.origins import is_hub, open_data
from framework.data.roles import assign, expressions_of, image_column
from framework.data.splits import select
from framework.errors import UserError
from framework.spec import DataSpec

_ORDERED = re.compile(r"(?:stratified|plain)\(([^)]+)\)")


@dataclass(frozen=True)
class Counts:
    """A data set in numbers.

    Attributes:
        train, validation, test: examples; None where there is no such split.
        num_classes: None without labels.
        side: of the square images, in pixels; None where it is not known or sizes differ.
        known: how this is known, for people.
        classes: the class names; None without labels, and where only their number is known.
        notes: what was assumed, is missing or left out.
    """

    train: int
    validation: int | None
    test: int | None
    num_classes: int | None
    side: int | None
    known: str
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def count(spec: DataSpec, cache: Path) -> Counts:
    """Count what `load` would give.

    Args:
        spec: where the examples come from.
        cache: as in `load`; only the index of a local folder is put there.

    Raises:
        UserError: a hub id that the catalogue doesn't have, or what `load` would refuse before it decodes.
    """
    if spec.train_from is not None:
        own = count(replace(spec, train_from=None, train=DataSpec.train), cache)
        other = count(DataSpec(name=spec.train_from, train=spec.train, validation=None, test=None, labels=None), cache)
        return replace(own, train=other.train, side=other.side, known=f"{own.known}; training images: {other.known}")
    if spec.name in OFFLINE:
        known = OFFLINE[spec.name]
        made = _counted(spec, known.sizes, len(known.classes), known.side, "as it is made here")
        return replace(made, classes=known.classes if spec.labels else None)
    if is_installed(spec.name):
        known = INSTALLED[spec.name]
        made = _counted(spec, known.sizes, len(known.classes), known.side, "as it is installed here")
        return replace(made, classes=known.classes if spec.labels else None)
    if spec.name in CATALOG and is_hub(spec.name):
        entry = CATALOG[spec.name]
        return _counted(spec, dict(entry.sizes), entry.num_classes, None, "as the catalogue says")
    if is_hub(spec.name):
        raise UserError(
            f"data {spec.name!r} is not a local file or folder, and the catalogue doesn't list its size; it lists "
            f"{', '.join((*OFFLINE, *CATALOG))}"
        )
    return _local(spec, cache)


def _counted(spec: DataSpec, sizes: Mapping[str, int], num_classes: int, side: int | None, known: str) -> Counts:
    expressions, _ = expressions_of(spec, sizes)
    # In whatever order, a slice has as many rows: no labels are needed for it.
    plain = {role: _ORDERED.sub(r"\1", text) for role, text in expressions.items()}
    chosen = {role: select(text, sizes, _no_labels, spec.name) for role, text in plain.items()}
    numbers = {role: sum(len(part.rows) for part in parts) for role, parts in chosen.items()}
    return _made(numbers, num_classes if spec.labels else None, side, known)


def _no_labels(split: str) -> np.ndarray:
    raise AssertionError(f"{split} is not ordered")


def _local(spec: DataSpec, cache: Path) -> Counts:
    opened = open_data(spec.name, spec.config, cache)
    roles = assign(spec, opened)
    for split in {part.split for parts in roles.chosen.values() for part in parts}:
        image_column(spec, opened, split)
    numbers = {role: sum(len(part.rows) for part in parts) for role, parts in roles.chosen.items()}
    counted = _made(numbers, len(roles.classes) if roles.classes else None, None, "as counted here")
    left_out = (f"{spec.name}: left out: {opened.left_out}",) if opened.left_out else ()
    return replace(counted, classes=roles.classes, notes=(*opened.notes, *roles.notes, *left_out))


def _made(numbers: Mapping[str, int], num_classes: int | None, side: int | None, known: str) -> Counts:
    return Counts(numbers["train"], numbers.get("validation"), numbers.get("test"), num_classes, side, known)

"""How many examples a data set has, without decoding or downloading anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from framework.data.catalog import CATALOG
from framework.data.offline import INSTALLED, OFFLINE, is_offline
from framework.data.origins import is_hub, open_data
from framework.data.roles import assign, expressions_of, image_column
from framework.data.splits import Selection, select
from framework.errors import UserError
from framework.spec import DataSpec


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
    if is_offline(spec.name):
        known = (OFFLINE | INSTALLED)[spec.name]
        how = "as it is made here" if spec.name in OFFLINE else "as it is installed here"
        counted = _counted(spec, known.sizes, len(known.classes), how)
        return replace(counted, side=known.side, classes=known.classes if spec.labels else None)
    if not is_hub(spec.name):
        return _local(spec, cache)
    if spec.name not in CATALOG:
        raise UserError(
            f"data {spec.name!r} is not a local file or folder, and the catalogue doesn't list its size; it lists "
            f"{', '.join((*OFFLINE, *CATALOG))}"
        )
    entry = CATALOG[spec.name]
    return _counted(spec, dict(entry.sizes), entry.num_classes, "as the catalogue says")


def _counted(spec: DataSpec, sizes: Mapping[str, int], num_classes: int, known: str) -> Counts:
    expressions, _ = expressions_of(spec, sizes)
    # In whatever order, a slice has as many rows: no labels are needed for it.
    chosen = {role: select(text, sizes, lambda split: None, spec.name) for role, text in expressions.items()}
    return _made(chosen, num_classes if spec.labels else None, known)


def _local(spec: DataSpec, cache: Path) -> Counts:
    opened = open_data(spec.name, spec.config, cache)
    roles = assign(spec, opened)
    for split in {part.split for parts in roles.chosen.values() for part in parts}:
        image_column(spec, opened, split)
    counted = _made(roles.chosen, len(roles.classes) if roles.classes else None, "as counted here")
    left_out = (f"{spec.name}: left out: {opened.left_out}",) if opened.left_out else ()
    return replace(counted, classes=roles.classes, notes=(*opened.notes, *roles.notes, *left_out))


def _made(chosen: Mapping[str, Sequence[Selection]], num_classes: int | None, known: str) -> Counts:
    numbers = {role: sum(len(part.rows) for part in parts) for role, parts in chosen.items()}
    return Counts(numbers["train"], numbers.get("validation"), numbers.get("test"), num_classes, None, known)

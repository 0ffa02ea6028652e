"""What a `DataSpec` takes of an opened data set: the rows, labels and classes of training, validation and test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from framework.data.catalog import CATALOG
from framework.data.classes import one_form
from framework.data.columns import LABEL_NAMES, find_image, find_labels
from framework.data.labels import LabelColumn, class_names, numbering, to_numbers
from framework.data.offline import OFFLINE
from framework.data.opened import Opened
from framework.data.presence import check_presence
from framework.data.splits import Selection, parse, select
from framework.data.stratify import stratified_order
from framework.errors import UserError
from framework.protocols import Array
from framework.spec import DataSpec

if TYPE_CHECKING:
    from datasets import Dataset

ROLES = ("train", "validation", "test")
_HELD_OUT = 10  # one of so many training images is held out for validation


@dataclass(frozen=True)
class Roles:
    """What is taken of a data set.

    Attributes:
        names: by role, what messages call its rows.
        chosen: by role, its rows.
        labels: by role int32 [N], -1 where a row has none; empty where the labels are not wanted.
        classes: the class names; None without labels.
        notes: what was assumed or missing.
    """

    names: Mapping[str, str]
    chosen: Mapping[str, tuple[Selection, ...]]
    labels: Mapping[str, Array]
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]


def assign(spec: DataSpec, opened: Opened) -> Roles:
    """Choose rows, labels and classes.

    Raises:
        UserError: the splits, slices or labels can't be what was meant.
    """
    names, notes = expressions_of(spec, opened.sizes, opened.unlabelled if spec.labels else frozenset())
    chosen = {role: _choose(spec, opened, text) for role, text in names.items()}
    notes += _unused(spec, opened, chosen)
    if spec.labels is not None:
        _refuse_problems(opened, chosen)
    if _may_hold_out(spec) and "validation" not in names:
        chosen, told = _hold_out(spec, opened, chosen)
        notes += told
        if "validation" in chosen:
            names = {**names, "validation": f"a tenth of {names['train']}"}
    if spec.labels is None:
        return Roles(names, chosen, {}, None, notes)
    columns = {role: [_stored_labels(spec, opened, part) for part in parts] for role, parts in chosen.items()}
    others = [column for role in columns if role != "train" for column in columns[role]]
    classes = class_names(columns["train"], others, both=spec.missing_classes == "allow")
    labels = {role: np.concatenate([to_numbers(each, classes) for each in parts]) for role, parts in columns.items()}
    notes += numbering(columns["train"][0], classes)
    notes += check_presence(spec, classes, labels)
    return Roles(names, chosen, labels, classes, notes)


# Splits


def _may_hold_out(spec: DataSpec) -> bool:
    return spec.validation == DataSpec.validation and spec.name not in (*OFFLINE, *CATALOG)


def expressions_of(
    spec: DataSpec, sizes: Mapping[str, int], unlabelled: frozenset[str] = frozenset()
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The split expression of each role that there is, and notes on those that are missing."""
    entry = CATALOG.get(spec.name)
    expressions: dict[str, str] = {}
    missing: list[str] = []
    notes: tuple[str, ...] = ()
    for role in ROLES:
        given: str | None = getattr(spec, role)
        text = getattr(entry, role) if entry is not None and given == role else given
        if text is None:
            continue
        absent = [term.split for term in parse(text) if term.split not in sizes]
        if role != "train" and text == role and text in unlabelled:
            notes += (f"{spec.name}: the {sizes[text]} images of {text!r} lie in no class folders and are left out",)
        elif not absent:
            expressions[role] = text
        elif role == "train" or given != role:
            raise UserError(_no_split(spec, absent[0], sizes, role))
        elif role != "validation" or not _may_hold_out(spec):
            missing.append(role)
    return expressions, notes + _missing_note(spec.name, missing, sizes)


def _no_split(spec: DataSpec, absent: str, sizes: Mapping[str, int], role: str) -> str:
    there = ", ".join(f"{split} ({size} rows)" for split, size in sizes.items())
    message = f"data {spec.name!r} has no split {absent!r} (data.{role}): it has {there}"
    if role != "train":
        return message
    first = "train" if "train" in sizes else next(iter(sizes), "train")
    hint = f"data.train={first}" if len(sizes) > 1 else _slices(first)
    return f"{message}; write for example {hint}"


def _missing_note(name: str, missing: Sequence[str], sizes: Mapping[str, int]) -> tuple[str, ...]:
    if not missing:
        return ()
    hint = f"; hold some images out for it with {_slices(next(iter(sizes)))}" if len(sizes) == 1 else ""
    return (f"{name} has no split {' and no split '.join(missing)}: it has {', '.join(sizes)}{hint}",)


def _unused(spec: DataSpec, opened: Opened, chosen: Mapping[str, Sequence[Selection]]) -> tuple[str, ...]:
    """A note on splits of a name of their own that no role takes."""
    taken = {part.split for parts in chosen.values() for part in parts}
    left = [split for split in opened.sizes if split not in (*taken, *ROLES)]
    if not left or spec.name in (*OFFLINE, *CATALOG):
        return ()
    shown = ", ".join(f"{split} ({opened.sizes[split]} rows)" for split in left)
    which = f"split {shown} is" if len(left) == 1 else f"splits {shown} are"
    also = f"data.train={'+'.join((spec.train, *left))} trains on {'it' if len(left) == 1 else 'them'} too"
    return (f"{spec.name}: the {which} not used; {also}",)


def _slices(split: str) -> str:
    return f"'data.train={split}[:80%]' 'data.test={split}[80%:]'"


def _refuse_problems(opened: Opened, chosen: Mapping[str, Sequence[Selection]]) -> None:
    for role, parts in chosen.items():
        problem = next((opened.problems[part.split] for part in parts if part.split in opened.problems), None)
        if problem is not None:
            off = "" if role == "train" else f"; data.{role}=none leaves the split out"
            raise UserError(f"{problem}{off}")


# Rows


def _choose(spec: DataSpec, opened: Opened, text: str) -> tuple[Selection, ...]:
    """The rows that a split expression means; errors as in `select`."""

    def labels(split: str) -> Array:
        return _texts(opened.splits[split], _label_column(spec, opened, split))

    def found(split: str) -> Array | None:
        features = opened.splits[split].features
        if spec.name in OFFLINE:  # their rows lie in an order in which every slice is balanced
            return None
        if spec.labels is not None:
            return labels(split)
        typed = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
        column = next(iter(typed or [name for name in LABEL_NAMES if name in features]), None)
        return None if column is None else _texts(opened.splits[split], column)

    return select(text, opened.sizes, labels, spec.name, found)


def _hold_out(
    spec: DataSpec, opened: Opened, chosen: Mapping[str, tuple[Selection, ...]]
) -> tuple[dict[str, tuple[Selection, ...]], tuple[str, ...]]:
    """The last tenth of the training rows' stratified order becomes the validation split."""
    parts = chosen["train"]
    values = np.concatenate(
        [_texts(opened.splits[part.split], _label_column(spec, opened, part.split))[part.rows] for part in parts]
    )
    order = stratified_order(values)
    is_held = np.zeros(len(values), bool)
    is_held[order[round(len(values) * (1 - 1 / _HELD_OUT)) :]] = True
    if len(values) < _HELD_OUT or {*values} != {*values[~is_held]}:
        return dict(chosen), (
            f"{spec.name}: no split for validation, and too few training images ({len(values)}) to hold a tenth out "
            "for it: the run has no validation curve and no best student",
        )
    masks = np.split(is_held, np.cumsum([len(part.rows) for part in parts])[:-1])
    made = {
        "train": tuple(Selection(part.split, part.rows[~mask]) for part, mask in zip(parts, masks, strict=True)),
        "validation": tuple(Selection(part.split, part.rows[mask]) for part, mask in zip(parts, masks, strict=True)),
    }
    note = (
        f"{spec.name}: no split for validation, so {int(is_held.sum())} of the {len(values)} training images, a tenth "
        "of each class, are held out for it; data.validation=none trains on all, without a validation curve and a best "
        "student"
    )
    return {**chosen, **made}, (note,)


def _texts(dataset: Dataset, column: str | None) -> Array:
    """The labels of a split, whatever they are; without a column all are one."""
    return np.array([str(value) for value in _values(dataset, column)] if column else [""] * len(dataset))


# Labels


def _stored_labels(spec: DataSpec, opened: Opened, selection: Selection) -> LabelColumn:
    dataset = opened.splits[selection.split]
    column = _label_column(spec, opened, selection.split)
    assert column is not None
    values = [_plain(value) for value in _values(dataset, column)]
    names = getattr(dataset.features[column], "names", None)
    where = f"data {spec.name!r}, split {selection.split!r}, column {column!r}"
    return LabelColumn([values[row] for row in selection.rows], selection.rows, names and tuple(names), where, values)


def _plain(value: Any) -> Any:
    """A label without what its storage did to it: pandas makes whole numbers floats, and none NaN, where some lack."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    return one_form(value) if isinstance(value, str) else value


def _label_column(spec: DataSpec, opened: Opened, split: str) -> str | None:
    entry = CATALOG.get(spec.name)
    wanted = entry.labels if entry is not None and spec.labels == "auto" else spec.labels
    return find_labels(opened.splits[split].features, wanted, f"data {spec.name!r}, split {split!r}")


def image_column(spec: DataSpec, opened: Opened, split: str) -> str:
    """The column of a split's images; errors as in `find_image`."""
    entry = CATALOG.get(spec.name)
    wanted = spec.image or (entry.image if entry is not None else None)
    return find_image(opened.splits[split].features, wanted, f"data {spec.name!r}, split {split!r}")


def _values(dataset: Dataset, column: str) -> list[Any]:
    return dataset.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()

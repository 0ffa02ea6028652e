"""From a `DataSpec` to validated splits: found, selected, labelled, and decoded once where that fits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framework.data.catalog import CATALOG, check_entry
from framework.data.columns import find_image, find_labels
from framework.data.decoded import open_decoded
from framework.data.labels import LabelColumn, class_names, to_numbers
from framework.data.origins import open_data
from framework.data.rows import Part, Rows
from framework.data.source import ImageSource, Splits
from framework.data.splits import Selection, parse, select
from framework.errors import UserError
from framework.protocols import Array
from framework.spec import DataSpec

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

Chosen = Mapping[str, tuple[Selection, ...]]  # by role: train, validation, test

DECODED_LIMIT = 8 * 2**30  # bytes of decoded pixels that one split may take in the cache
ROLES = ("train", "validation", "test")


def load(spec: DataSpec, cache: Path, decoded_limit: int = DECODED_LIMIT) -> Splits:
    """Open, validate and decode a data set.

    Args:
        spec: where the examples come from.
        cache: the folder for what is made once: generated sets, indices, decoded pixels.
        decoded_limit: a split with more bytes of pixels is decoded on demand.

    Returns:
        The splits, with notes on what was assumed or missing.

    Raises:
        UserError: anything in the data or the spec that can't be trained on; it says what, where, and what is allowed.
    """
    if spec.train_from is not None:
        return _with_train_from(spec, cache, decoded_limit)
    _prepare(cache)
    loaded, notes = open_data(spec.name, spec.config, cache)
    sizes = {split: len(dataset) for split, dataset in loaded.items()}
    expressions, missing = expressions_of(spec, sizes)
    chosen = {role: choose(spec, loaded, text) for role, text in expressions.items()}
    labels, classes = labels_of(spec, loaded, chosen)
    notes += missing + _overlaps(spec.name, chosen)
    notes += check_entry(spec.name, sizes, classes)
    sources = {}
    for role, parts in chosen.items():
        rows = _rows(spec, loaded, expressions[role], parts)
        decoded = open_decoded(rows, cache, spec.on_bad_image, decoded_limit)
        sources[role] = ImageSource(rows, decoded, labels.get(role), classes)
        if decoded.num_replaced:
            notes += (f"{rows.name}: {decoded.num_replaced} bad images have a neighbour in their place",)
    return _splits(spec.name, sources, classes, notes)


def _with_train_from(spec: DataSpec, cache: Path, decoded_limit: int) -> Splits:
    """The data set's validation and test splits, and the training images of another one."""
    own = load(replace(spec, train_from=None, train=DataSpec.train), cache, decoded_limit)
    assert spec.train_from is not None
    other = DataSpec(
        name=spec.train_from, train=spec.train, validation=None, test=None, labels=None, on_bad_image=spec.on_bad_image
    )
    images = load(other, cache, decoded_limit)
    total = hashlib.sha256(f"{own.fingerprint} {images.fingerprint}".encode())
    notes = own.notes + images.notes
    return replace(own, train=images.train, fingerprint=total.hexdigest()[:32], notes=notes)


def _prepare(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the cache folder {cache} can't be made: {error}") from error
    if not os.access(cache, os.W_OK):
        raise UserError(f"the cache folder {cache} can't be written")


def _splits(
    name: str, sources: Mapping[str, ImageSource], classes: tuple[str, ...] | None, notes: tuple[str, ...]
) -> Splits:
    total = hashlib.sha256(" ".join(source.fingerprint for source in sources.values()).encode())
    validation, test = (sources.get(role) for role in ROLES[1:])
    return Splits(sources["train"], validation, test, classes, name, total.hexdigest()[:32], notes)


def expressions_of(spec: DataSpec, sizes: Mapping[str, int]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The split expression of each role that there is, and notes on those that are missing."""
    entry = CATALOG.get(spec.name)
    expressions: dict[str, str] = {}
    missing: list[str] = []
    for role in ROLES:
        given: str | None = getattr(spec, role)
        text = getattr(entry, role) if entry is not None and given == role else given
        if text is None:
            continue
        absent = [term.split for term in parse(text) if term.split not in sizes]
        if not absent:
            expressions[role] = text
        elif role == "train" or given != role:
            raise UserError(_no_split(spec, absent[0], sizes, role))
        else:
            missing.append(role)
    return expressions, _missing_note(spec.name, missing, sizes)


def _no_split(spec: DataSpec, absent: str, sizes: Mapping[str, int], role: str) -> str:
    there = ", ".join(f"{split} ({size} rows)" for split, size in sizes.items())
    message = f"data {spec.name!r} has no split {absent!r} (data.{role}): there is {there}"
    if role != "train":
        return message
    first = "train" if "train" in sizes else next(iter(sizes), "train")
    hint = f"data.train={first}" if len(sizes) > 1 else _hold_out(first)
    return f"{message}; write for example {hint}"


def _missing_note(name: str, missing: list[str], sizes: Mapping[str, int]) -> tuple[str, ...]:
    if not missing:
        return ()
    hint = f"; hold some rows out with {_hold_out(next(iter(sizes)))}" if len(sizes) == 1 else ""
    return (f"{name} has no split {' and no split '.join(missing)}: there is {', '.join(sizes)}{hint}",)


def _hold_out(split: str) -> str:
    return f"'data.train=stratified({split})[:80%]' 'data.test=stratified({split})[80%:]'"


def choose(spec: DataSpec, loaded: DatasetDict, text: str) -> tuple[Selection, ...]:
    """The rows that a split expression means; errors as in `select`."""

    def labels(split: str) -> Array:
        column = _label_column(spec, loaded, split)
        if column is None:  # one class: a fixed shuffle
            return np.zeros(len(loaded[split]), np.int64)
        return np.unique([str(value) for value in _values(loaded[split], column)], return_inverse=True)[1]

    return select(text, {split: len(dataset) for split, dataset in loaded.items()}, labels, spec.name)


def labels_of(spec: DataSpec, loaded: DatasetDict, chosen: Chosen) -> tuple[dict[str, Array], tuple[str, ...] | None]:
    """The int32 labels of each role and the class names; nothing and None where there are no labels."""
    if spec.labels is None:
        return {}, None
    columns = {role: [_stored_labels(spec, loaded, selection) for selection in parts] for role, parts in chosen.items()}
    others = [column for role in columns if role != "train" for column in columns[role]]
    classes = class_names(columns["train"], others)
    numbers = {role: [to_numbers(column, classes) for column in parts] for role, parts in columns.items()}
    return {role: np.concatenate(parts) for role, parts in numbers.items()}, classes


def _stored_labels(spec: DataSpec, loaded: DatasetDict, selection: Selection) -> LabelColumn:
    dataset = loaded[selection.split]
    column = _label_column(spec, loaded, selection.split)
    assert column is not None
    values = _values(dataset, column)
    names = getattr(dataset.features[column], "names", None)
    where = f"{_where(spec, selection.split)}, column {column!r}"
    return LabelColumn([values[row] for row in selection.rows], selection.rows, names and tuple(names), where)


def _label_column(spec: DataSpec, loaded: DatasetDict, split: str) -> str | None:
    entry = CATALOG.get(spec.name)
    wanted = entry.labels if entry is not None and spec.labels == "auto" else spec.labels
    return find_labels(loaded[split].features, wanted, _where(spec, split))


def _values(dataset: Dataset, column: str) -> list[Any]:
    return dataset.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()


def _rows(spec: DataSpec, loaded: DatasetDict, text: str, parts: tuple[Selection, ...]) -> Rows:
    from datasets import Image

    entry = CATALOG.get(spec.name)
    wanted = spec.image or (entry.image if entry is not None else None)
    opened = []
    for selection in parts:
        dataset = loaded[selection.split]
        column = find_image(dataset.features, wanted, _where(spec, selection.split))
        encoded = dataset.with_format(None).select_columns([column]).cast_column(column, Image(decode=False))
        opened.append(Part(selection.split, column, encoded, selection.rows, dataset._fingerprint))
    return Rows(spec.name, text, opened)


def _where(spec: DataSpec, split: str) -> str:
    return f"data {spec.name!r}, split {split!r}"


def _overlaps(name: str, chosen: Chosen) -> tuple[str, ...]:
    """Notes on rows that two roles share."""
    rows = {role: {(part.split, row) for part in parts for row in part.rows.tolist()} for role, parts in chosen.items()}
    shared = {(a, b): len(rows[a] & rows[b]) for a, b in combinations(rows, 2)}
    return tuple(f"{name}: {count} rows of {b} are in {a} too" for (a, b), count in shared.items() if count)

"""From a `DataSpec` to validated splits: found, selected, labelled, and decoded once where that fits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from framework.data.catalog import check_entry
from framework.data.decoded import open_decoded
from framework.data.opened import Opened
from framework.data.origins import open_data
from framework.data.presence import summary
from framework.data.roles import ROLES, assign, image_column
from framework.data.rows import Part, Rows
from framework.data.source import ImageSource, Splits
from framework.data.splits import Selection
from framework.errors import UserError, few, some
from framework.protocols import Source
from framework.spec import DataSpec

Chosen = Mapping[str, tuple[Selection, ...]]  # by role: train, validation, test
Check = Callable[[tuple[str, ...] | None], None]

DECODED_LIMIT = 8 * 2**30  # bytes of decoded pixels that one split may take in the cache


def load(
    spec: DataSpec, cache: Path, decoded_limit: int = DECODED_LIMIT, check: Check = lambda classes: None
) -> Splits:
    """Open, validate and decode a data set.

    Args:
        spec: where the examples come from.
        cache: the folder for what is made once: generated sets, indices, decoded pixels.
        decoded_limit: a split with more bytes of pixels is decoded on demand.
        check: is given the class names, None without labels, before any image is decoded; it may refuse them.

    Returns:
        The splits, with notes: first what was found, then what was assumed or is missing.

    Raises:
        UserError: anything in the data or the spec that can't be trained on; it says what, where, and what is allowed.
    """
    _prepare(cache)
    load_it = _load if spec.train_from is None else _with_train_from
    splits, left_out = load_it(spec, cache, decoded_limit, check)
    return replace(splits, notes=(summary(splits, left_out), *splits.notes))


def _load(spec: DataSpec, cache: Path, decoded_limit: int, check: Check) -> tuple[Splits, str]:
    """The splits of one data set, and the files that were left out, in words."""
    opened = open_data(spec.name, spec.config, cache)
    roles = assign(spec, opened)
    check(roles.classes)
    notes = opened.notes + roles.notes + _overlaps(spec.name, roles.chosen)
    notes += check_entry(spec.name, opened.sizes, roles.classes)
    sources = {}
    for role, parts in roles.chosen.items():
        rows = _rows(spec, opened, roles.names[role], parts)
        decoded = open_decoded(rows, cache, spec.on_bad_image, decoded_limit)
        sources[role] = ImageSource(rows, decoded, roles.labels.get(role), roles.classes)
        if decoded.num_replaced:
            notes += (
                f"{rows.name}: a neighbour stands in for {some(decoded.num_replaced, 'bad image', 'bad images')}",
            )
        if decoded.num_animated:
            films = some(decoded.num_animated, "image has", "images have")
            notes += (f"{rows.name}: {films} several frames; the first of each is taken",)
    notes += _copies(spec.name, sources, roles.chosen) + _in_two_classes(spec.name, sources)
    return _splits(spec.name, sources, roles.classes, notes), opened.left_out


def _with_train_from(spec: DataSpec, cache: Path, decoded_limit: int, check: Check) -> tuple[Splits, str]:
    """The data set's validation and test splits, and the training images of another one."""
    own, left_out = _load(replace(spec, train_from=None, train=DataSpec.train), cache, decoded_limit, check)
    assert spec.train_from is not None
    other = DataSpec(
        name=spec.train_from, train=spec.train, validation=None, test=None, labels=None, on_bad_image=spec.on_bad_image
    )
    images, also = _load(other, cache, decoded_limit, lambda classes: None)
    total = hashlib.sha256(f"{own.fingerprint} {images.fingerprint}".encode())
    joined = {"train": images.train, "validation": own.validation, "test": own.test}
    notes = own.notes + images.notes + _copies(spec.name, joined, {})
    splits = replace(own, train=images.train, fingerprint=total.hexdigest()[:32], notes=notes)
    return splits, ", ".join(filter(None, (left_out, also)))


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
    ordered = [sources[role] for role in ROLES if role in sources]
    total = hashlib.sha256(" ".join(source.fingerprint for source in ordered).encode())
    validation, test = (sources.get(role) for role in ROLES[1:])
    return Splits(sources["train"], validation, test, classes, name, total.hexdigest()[:32], notes)


def _rows(spec: DataSpec, opened: Opened, text: str, parts: tuple[Selection, ...]) -> Rows:
    from datasets import Image

    made = []
    for selection in parts:
        dataset, column = opened.splits[selection.split], image_column(spec, opened, selection.split)
        encoded = dataset.with_format(None).select_columns([column]).cast_column(column, Image(decode=False))
        made.append(Part(selection.split, column, encoded, selection.rows, dataset._fingerprint))
    return Rows(spec.name, text, made)


def _overlaps(name: str, chosen: Chosen) -> tuple[str, ...]:
    """Notes on rows that two roles share."""
    counts = {(a, b): _num_shared(chosen, a, b) for a, b in combinations(chosen, 2)}
    return tuple(
        f"{name}: {some(count, f'row of {b} is', f'rows of {b} are')} in {a} too"
        for (a, b), count in counts.items()
        if count
    )


def _num_shared(chosen: Chosen, a: str, b: str) -> int:
    rows = [{(part.split, row) for part in chosen.get(role, ()) for row in part.rows.tolist()} for role in (a, b)]
    return len(rows[0] & rows[1])


def _copies(name: str, sources: Mapping[str, Source | None], chosen: Chosen) -> tuple[str, ...]:
    """Notes on images of validation or test that are training images too, beyond rows that are known to be."""
    notes: tuple[str, ...] = ()
    train = getattr(sources["train"], "digests", None)
    for role in ROLES[1:]:
        mine = getattr(sources.get(role), "digests", None)
        if train is not None and mine is not None:
            count = int(np.isin(mine, train).sum()) - _num_shared(chosen, "train", role)
            told = some(count, f"image of {role} is", f"images of {role} are")
            notes += (f"{name}: {told} in train too, pixel for pixel",) if count > 0 else ()
    return notes


def _in_two_classes(name: str, sources: Mapping[str, ImageSource]) -> tuple[str, ...]:
    """Notes on images that a split has in more than one class."""
    notes: tuple[str, ...] = ()
    for role, source in sources.items():
        labels = source.labels(np.arange(source.num_examples))
        if source.digests is None or labels is None or source.classes is None:
            continue
        order = np.lexsort((labels, source.digests))
        digests, labels = source.digests[order], labels[order]
        at = np.flatnonzero((digests[1:] == digests[:-1]) & (labels[1:] != labels[:-1]) & (labels[:-1] >= 0))
        if len(at):
            pair = few(source.classes[labels[place]] for place in (at[0], at[0] + 1))
            told = some(len(np.unique(digests[at])), f"image of {role} is", f"images of {role} are")
            notes += (f"{name}: {told} in two classes, pixel for pixel: for example {pair}",)
    return notes

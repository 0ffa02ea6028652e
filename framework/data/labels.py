"""Labels as int32 with -1 for none, and one tuple of class names for all splits; every label is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framework.errors import UserError, near

UNLABELLED = -1


@dataclass(frozen=True)
class LabelColumn:
    """The labels of some rows of a split, as they are stored.

    Attributes:
        values: a number, a word or None for each of the rows.
        rows: int64 [N], the rows' numbers in the split.
        names: the class names where the feature has them.
        where: data set, split and column, for messages.
    """

    values: Sequence[Any]
    rows: np.ndarray
    names: tuple[str, ...] | None
    where: str


def class_names(train: Sequence[LabelColumn], others: Sequence[LabelColumn]) -> tuple[str, ...]:
    """The class names: the features' own, else from the training values (sorted words, or numbers from 0).

    Raises:
        UserError: the splits' names differ, or no training row has a label.
    """
    first = train[0]
    for column in (*train, *others):
        if column.names != first.names:
            raise UserError(f"{column.where}: its classes are not those of {first.where}: {_difference(column, first)}")
    if first.names is not None:
        return first.names
    for column in train:
        _require_numbers_or_words(column)
    return _from_values({value for column in train for value in column.values}, first.where)


def to_numbers(column: LabelColumn, classes: tuple[str, ...]) -> np.ndarray:
    """Labels as class numbers.

    Returns:
        int32 [N] in [0, classes), -1 where a row has none.

    Raises:
        UserError: a label is no known class; it names the row.
    """
    _require_numbers_or_words(column)
    if column.names is None and any(isinstance(value, str) for value in column.values):
        return _words_to_numbers(column, classes)
    numbers = np.array([UNLABELLED if value is None else int(value) for value in column.values], np.int64)
    wrong = np.flatnonzero((numbers < UNLABELLED) | (numbers >= len(classes)))
    if len(wrong):
        at = int(wrong[0])
        raise UserError(f"{column.where}, row {column.rows[at]}: label {numbers[at]} is not in [0, {len(classes)})")
    return numbers.astype(np.int32)


def _from_values(values: set[Any], where: str) -> tuple[str, ...]:
    present = values - {None, UNLABELLED}
    if not present:
        raise UserError(f"{where}: no row has a label; data.labels=null trains without")
    if all(isinstance(value, str) for value in present):
        return tuple(sorted(present))
    if any(isinstance(value, str) for value in present) or min(present) < 0:
        raise UserError(f"{where}: labels must be words, or numbers from 0; there is {sorted(map(str, present))[:5]}")
    return tuple(str(number) for number in range(int(max(present)) + 1))


def _words_to_numbers(column: LabelColumn, classes: tuple[str, ...]) -> np.ndarray:
    known: dict[Any, int] = {name: number for number, name in enumerate(classes)} | {None: UNLABELLED}
    for row, value in zip(column.rows, column.values, strict=True):
        if value not in known:
            raise UserError(f"{column.where}, row {row}: label {value!r} is no training class: {near(value, classes)}")
    return np.array([known[value] for value in column.values], np.int32)


def _require_numbers_or_words(column: LabelColumn) -> None:
    for row, value in zip(column.rows, column.values, strict=True):
        if value is not None and not isinstance(value, (int, np.integer, str)):
            raise UserError(
                f"{column.where}, row {row}: label {value!r} is no class number or name; "
                "choose another column with data.labels=, or data.labels=null"
            )


def _difference(column: LabelColumn, first: LabelColumn) -> str:
    mine, theirs = column.names or (), first.names or ()
    only = [name for name in mine if name not in theirs][:3]
    return f"{len(mine)} against {len(theirs)}" + (f", only here: {', '.join(only)}" if only else ", in another order")

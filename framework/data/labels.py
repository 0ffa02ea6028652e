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
        all_values: the values of all the split's rows, also of those that are not chosen.

    Raises:
        UserError: a value is none of these; it names the row.
    """

    values: Sequence[Any]
    rows: np.ndarray
    names: tuple[str, ...] | None
    where: str
    all_values: Sequence[Any]

    def __post_init__(self) -> None:
        for row, value in zip(self.rows, self.values, strict=True):
            if value is not None and not isinstance(value, (int, np.integer, str)):
                raise UserError(
                    f"{self.where}, row {row}: label {value!r} is neither a class number nor a name; "
                    "choose another column with data.labels=, or data.labels=null"
                )


def class_names(train: Sequence[LabelColumn], others: Sequence[LabelColumn], both: bool = False) -> tuple[str, ...]:
    """The class names: the features' own, else the values in the splits that are trained on, sorted.

    Numbers need not be consecutive, nor begin with 0.

    Args:
        train, others: the training split's columns, and those of the other splits.
        both: take the values of the others too.

    Raises:
        UserError: the splits' names differ, or no training row has a label.
    """
    first = train[0]
    for column in (*train, *others):
        if column.names != first.names:
            raise UserError(f"{column.where}: its classes are not those of {first.where}: {_difference(column, first)}")
    if first.names is not None:
        return _readable(first.names, first.where)
    if both:
        train = (*train, *others)
    return _from_values({value for column in train for value in column.all_values}, first.where)


def numbering(column: LabelColumn, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A note where labels are numbers, but not those of the classes."""
    words = column.names is not None or any(isinstance(value, str) for value in column.values)
    if words or _from_zero(classes):
        return ()
    last = len(classes) - 1
    return (f"{column.where}: the labels {classes[0]} to {classes[-1]} are taken as {last + 1} classes, 0 to {last}",)


def to_numbers(column: LabelColumn, classes: tuple[str, ...]) -> np.ndarray:
    """Labels as class numbers.

    Returns:
        int32 [N] in [0, classes), -1 where a row has none.

    Raises:
        UserError: a label is no known class; it names the row.
    """
    is_words = any(isinstance(value, str) for value in column.values)
    if column.names is None and (is_words or not _from_zero(classes)):
        return _values_to_numbers(column, classes)
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
        return _readable(tuple(sorted(present)), where)
    if any(isinstance(value, str) for value in present) or min(present) < 0:
        raise UserError(f"{where}: labels must be words, or numbers from 0; received {sorted(map(str, present))[:5]}")
    return tuple(str(number) for number in sorted(map(int, present)))


def _readable(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The names, none of which is blank, or takes more than a line of a file of names."""
    bad = next((name for name in names if not name.strip() or len(name.splitlines()) > 1), None)
    if bad is not None:
        raise UserError(f"{where}: a class is called {bad!r}: give it a name of one line")
    return names


def _from_zero(classes: tuple[str, ...]) -> bool:
    return classes == tuple(map(str, range(len(classes))))


def _values_to_numbers(column: LabelColumn, classes: tuple[str, ...]) -> np.ndarray:
    known: dict[Any, int] = {None: UNLABELLED, str(UNLABELLED): UNLABELLED}
    known |= {name: number for number, name in enumerate(classes)}
    words = [value if value is None or isinstance(value, str) else str(int(value)) for value in column.values]
    for row, word in zip(column.rows, words, strict=True):
        if word is not None and word not in known:
            raise UserError(f"{column.where}, row {row}: label {word!r} is not a training class: {near(word, classes)}")
    return np.array([known[word] for word in words], np.int32)


def _difference(column: LabelColumn, first: LabelColumn) -> str:
    mine, theirs = column.names or (), first.names or ()
    only = [name for name in mine if name not in theirs][:3]
    return f"{len(mine)} against {len(theirs)}" + (f", only here: {', '.join(only)}" if only else ", in another order")

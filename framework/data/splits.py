"""Split expressions: `train`, `train[:90%]`, `plain(train)[90%:]`, `upstream+train`, with checks of our own.

`datasets` silently shortens a slice that asks for more than there is, and gives an empty one without a word: both are
errors here. `stratified(train)` is the split in a fixed order in which every slice has the classes in their overall
proportions, and a percent slice of labelled data is one of that order: in files sorted by class, a slice of the files
would lack classes. `plain(train)[:90%]` is a slice of the files' own order, and so is `train[100:600]`, in rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from framework.data.stratify import stratified_order
from framework.errors import UserError

Labels = Callable[[str], np.ndarray | None]

_TERM = re.compile(
    r"(?P<order>stratified|plain)?(?P<open>\()?(?P<split>[\w.-]+)(?(open)\))"
    r"(?P<slice>\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?$"
)
_FORMS = (
    "'train', 'train[:90%]', 'train[100:600]', 'stratified(train)[90%:]', 'plain(train)[:90%]' and sums of them, "
    "'upstream+train'"
)


@dataclass(frozen=True)
class Term:
    """One summand of an expression: a split, perhaps sliced; bounds are (number, is percent).

    Its order is `stratified`, `plain`, or None where the expression doesn't say.
    """

    split: str
    order: str | None
    start: tuple[int, bool] | None
    stop: tuple[int, bool] | None


@dataclass(frozen=True)
class Selection:
    """Rows of one split: `rows` is int64 [N]."""

    split: str
    rows: np.ndarray


def parse(expression: str) -> tuple[Term, ...]:
    """Read a split expression.

    Raises:
        UserError: it has no known form.
    """
    return tuple(_term(text.strip(), expression) for text in expression.split("+"))


def select(
    expression: str,
    lengths: Mapping[str, int],
    labels: Labels,
    name: str,
    found: Labels = lambda split: None,
) -> tuple[Selection, ...]:
    """Find the rows that an expression means.

    Args:
        expression: a split expression.
        lengths: how many rows each split has; all its splits must be among them.
        labels: gives the int [N] labels of a split; called where a stratified order is asked for, None for any order.
        name: the data set, for messages.
        found: gives the labels by which percent slices are stratified, None where there are none.

    Raises:
        UserError: a slice asks for more rows than there are, or for none.
    """
    return tuple(_select(term, expression, lengths[term.split], labels, name, found) for term in parse(expression))


def _term(text: str, expression: str) -> Term:
    match = _TERM.match(text)
    if match is None or bool(match["order"]) != bool(match["open"]):
        raise UserError(f"split {expression!r} can't be read: write it like {_FORMS}")
    return Term(match["split"], match["order"], _bound(match["start"]), _bound(match["stop"]))


def _bound(text: str | None) -> tuple[int, bool] | None:
    return None if text is None else (int(text.rstrip("%")), text.endswith("%"))


def _select(term: Term, expression: str, length: int, labels: Labels, name: str, found: Labels) -> Selection:
    where = f"data {name!r}, split {expression!r}"
    if length == 0:
        raise UserError(f"{where}: {term.split!r} is empty")
    start = _row(term.start, 0, length, where)
    stop = _row(term.stop, length, length, where)
    if start >= stop:
        raise UserError(f"{where} is empty: rows {start} to {stop} of {length}")
    by = labels(term.split) if term.order == "stratified" else None
    in_percent = any(bound is not None and bound[1] for bound in (term.start, term.stop))
    if term.order is None and in_percent:
        by = found(term.split)
    order = np.arange(length) if by is None else stratified_order(by)
    return Selection(term.split, order[start:stop])


def _row(bound: tuple[int, bool] | None, default: int, length: int, where: str) -> int:
    if bound is None:
        return default
    number, is_percent = bound
    limit, unit = (100, "%") if is_percent else (length, f" of {length} rows")
    if abs(number) > limit:
        raise UserError(f"{where} asks for {number}{unit}, but there are {length} rows")
    number = number + limit if number < 0 else number
    return round(number * length / 100) if is_percent else number

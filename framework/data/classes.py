"""Class names of the paper's data sets in the order of the authors' teachers' outputs, and the way between two orders.

A line of `classes/NAME.txt` is one class, with its other names after tabs. Copies of a data set write a name in their
own way (`British_Shorthair`, `british shorthair`), so names that are not equal are compared by their letters and digits
alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from framework.errors import UserError, few, near
from framework.files.paths import path_of

Names = tuple[str, ...]

_FOLDER = Path(__file__).parent / "classes"
ORDERS = ("flowers", "food", "imagenet", "pet", "sun")


@cache
def order(name: str) -> tuple[Names, ...]:
    """The classes of a known data set, or of a file of one's own, each with all its names.

    Args:
        name: one of `ORDERS`, or the path of a text file with one class a line.

    Raises:
        UserError: neither.
    """
    path = _FOLDER / f"{name}.txt" if name in ORDERS else path_of(name)
    if not path.is_file():
        looked = f"no such file (looked for {path.absolute()})"
        raise UserError(
            f"classes {name!r}: {looked}; {near(name, (*ORDERS, 'data'))}; or a text file, one class a line"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split("\t")) for line in lines if line.strip())


def plain_name(name: str) -> str:
    """A name as it is compared.

    >>> plain_name("/b/Beer_Hall "), plain_name("hard-leaved pocket orchid")
    ('b beer hall', 'hard leaved pocket orchid')
    """
    return re.sub(r"[\W_]+", " ", one_form(name).casefold()).strip()


def one_form(name: str) -> str:
    """A name in the Unicode form that all are held to: an accent is part of its letter (NFC), not a sign after it.

    >>> one_form("cafe\N{COMBINING ACUTE ACCENT}") == "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    True
    """
    return unicodedata.normalize("NFC", name)


def unknown(classes: Sequence[str], name: str) -> Names:
    """Those of a data set's classes that an order doesn't have; all known where the result is empty."""
    known = {plain_name(each) for names in order(name) for each in names}
    return tuple(each for each in classes if plain_name(each) not in known)


def permutation(theirs: Sequence[Names], ours: Sequence[str], who: str, data: str) -> np.ndarray:
    """For each of our classes, the place it has among theirs.

    Args:
        theirs: the classes of a model's outputs, each with all its names.
        ours: the data's classes.
        who, data: what messages call the two.

    Returns:
        int64 [C].

    Raises:
        UserError: the two don't have the same classes.
    """
    if len(theirs) != len(ours):
        raise UserError(f"{who} knows {len(theirs)} classes, but data {data!r} have {len(ours)}: {_HINT}")
    places = _places(theirs)
    found = [places.get(name, places.get(plain_name(name))) for name in ours]
    missing = [name for name, place in zip(ours, found, strict=True) if place is None]
    if missing:
        hint = near(plain_name(missing[0]), places).partition("? ")
        close = f" ({hint[0]}?)" if hint[1] else ""
        raise UserError(f"{who} knows no class {few(missing)} of data {data!r}{close}: {_HINT}")
    if len(set(found)) < len(ours):
        raise UserError(f"two classes of data {data!r} match one class of {who}: {_HINT}")
    return np.array(found, np.int64)


def _places(theirs: Sequence[Names]) -> dict[str, int]:
    """The place of each name, exact or plain; plain names that several classes have ('A' and 'a') are left out."""
    exact: dict[str, int] = {}
    plain: dict[str, set[int]] = {}
    for place, names in enumerate(theirs):
        for name in names:
            exact.setdefault(name, place)
            plain.setdefault(plain_name(name), set()).add(place)
    return {name: places.pop() for name, places in plain.items() if len(places) == 1} | exact


_HINT = "teacher.classes=data takes its outputs in the data's own order, data.labels=null distils without labels"

"""The user's mistakes: one exception type, and messages that say what would have been accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

# Of more characters than these, a list is cut to its first names.
_MOST, _FEW = 500, 20


class UserError(ValueError):
    """A mistake in what the user gave: the message alone is shown, and the exit code is 2."""


class OutOfMemory(RuntimeError):
    """A step doesn't fit in the device's memory.

    Attributes:
        intact: whether the trainer's state is still that of before the step.
    """

    def __init__(self, told: str, intact: bool) -> None:
        super().__init__(told)
        self.intact = intact


def one_line(error: object, limit: int = 300) -> str:
    """What an exception, or anything else, says, in one line of at most `limit` characters."""
    # Keras writes in bold.
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split())[:limit]


def some(count: int, one: str, many: str) -> str:
    """A number of things, in the right form.

    >>> some(1, "image is", "images are"), some(2, "image is", "images are")
    ('1 image is', '2 images are')
    """
    return f"{count} {one if count == 1 else many}"


def few(names: Iterable[str], limit: int = 3, show: Callable[[str], str] = repr) -> str:
    """The first names, and how many more there are.

    >>> few("abcde"), few("ab", 2, str)
    ("'a', 'b', 'c' and 2 more", 'a, b')
    """
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(map(show, listed[:limit])) + more


def near(received: str, allowed: Iterable[str]) -> str:
    """Say which allowed name is nearest to the received one, or list them all.

    Args:
        received: the unknown name.
        allowed: the names that would have been accepted.

    Returns:
        `"did you mean 'lr'? "` followed by the allowed names, sorted.
    """
    names = sorted(str(name) for name in allowed)
    matches = difflib.get_close_matches(str(received), names, n=1, cutoff=0.5) or _abbreviated(str(received), names)
    hint = f"did you mean {matches[0]!r}? " if matches else ""
    limit = len(names) if len(", ".join(names)) <= _MOST else _FEW
    return f"{hint}allowed: {few(names, limit, str)}"


def _abbreviated(short: str, names: list[str]) -> list[str]:
    """The only name that begins as an abbreviation does and has all of its letters in their order; else none.

    >>> _abbreviated("tf", ["jax", "tensorflow", "torch"]), _abbreviated("to", ["torch", "tomato"])
    (['tensorflow'], [])
    """
    letters = short.lower()
    if len(letters) < 2:
        return []
    pattern = re.compile(".*".join(map(re.escape, letters)))
    found = [name for name in names if pattern.match(name.lower())]
    return found if len(found) == 1 else []

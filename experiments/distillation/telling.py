"""One-line remarks for the user: on stderr, or to nobody."""

from __future__ import annotations

import sys
from collections.abc import Callable

Tell = Callable[[str], None]


def tell(line: str) -> None:
    """Say something on stderr."""
    print(line, file=sys.stderr, flush=True)


def nobody(line: str) -> None:
    """Say it to nobody."""

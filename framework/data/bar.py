"""A progress bar for long work: on a terminal only, and only when it takes more than a second."""

from __future__ import annotations

from typing import Any


def image_bar(total: int, what: str) -> Any:
    """A tqdm bar on stderr, silent where stderr is no terminal; use it in a `with` and call its `update`."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit=" images", disable=None, delay=1.0, leave=False)

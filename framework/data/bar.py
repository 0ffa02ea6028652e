"""How far long work on images is: a bar on a terminal, a line now and then elsewhere, nothing for a second's work."""

from __future__ import annotations

import sys
import time
from typing import Any

_EVERY_S = 15.0


def image_bar(total: int, what: str) -> Any:
    """A tqdm bar on stderr, or plain lines where stderr is no terminal; use it in a `with` and call its `update`."""
    from tqdm import tqdm

    if not sys.stderr.isatty():
        return Lines(total, what)
    return tqdm(total=total, desc=what, unit=" images", delay=1.0, leave=False)


class Lines:
    """A line on stderr every so often.

    Args:
        total: images to be done.
        what: what is done to them.
        seconds: from one line to the next.
    """

    def __init__(self, total: int, what: str, seconds: float = _EVERY_S) -> None:
        self.total, self.what, self.seconds = total, what, seconds
        self.done = 0

    def __enter__(self) -> Lines:
        self._started = self._told = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        return

    def update(self, count: int = 1) -> None:
        """So many images more are done."""
        self.done += count
        now = time.monotonic()
        if now - self._told >= self.seconds:
            self._told = now
            left = (now - self._started) * (self.total - self.done) / self.done
            print(f"{self.what}: {self.done} of {self.total} images, {left:.0f} s left", file=sys.stderr, flush=True)

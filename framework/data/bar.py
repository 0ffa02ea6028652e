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
        return _Lines(total, what)
    return tqdm(total=total, desc=what, unit=" images", delay=1.0, leave=False)


class _Lines:
    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done = total, what, 0

    def __enter__(self) -> _Lines:
        self._started = self._told = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        return

    def update(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if now - self._told >= _EVERY_S:
            self._told = now
            left = (now - self._started) * (self.total - self.done) / self.done
            print(f"{self.what}: {self.done} of {self.total} images, {left:.0f} s left", file=sys.stderr, flush=True)

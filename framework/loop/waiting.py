"""Saying what is waited for, where that takes longer than a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What is ready sooner needs no words.
_MOMENT_S = 2.0


@contextmanager
def waiting(what: str, tell: Callable[[str], None], moment: float = _MOMENT_S) -> Iterator[None]:
    """Tell what is being done if it isn't done in a moment, and afterwards how long it took.

    Args:
        what: in words; what stands in brackets is said once.
        tell: takes a line; called from another thread the first time.
        moment: seconds.
    """
    begun, told = time.perf_counter(), threading.Event()

    def say() -> None:
        told.set()
        tell(f"{what} ...")

    timer = threading.Timer(moment, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
    if told.is_set():
        tell(f"{what.partition(' (')[0]}: {time.perf_counter() - begun:.0f} s")

"""Threads for work on the host: decoding and resizing release the interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def num_threads(most: int = 8) -> int:
    """The processors that this process may use, eight at most unless told otherwise."""
    return min(most, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@cache
def pool() -> ThreadPoolExecutor:
    """The threads that all work on images shares; what runs on them doesn't wait for other work on them."""
    return ThreadPoolExecutor(num_threads(), "images")


def spread(work: Callable[[int], T], count: int) -> list[T]:
    """What `work` gives for each of so many places; several calls are one task, since each task costs too."""
    tasks = 2 * num_threads()
    parts = list(pool().map(lambda first: [work(place) for place in range(first, count, tasks)], range(tasks)))
    return [parts[place % tasks][place // tasks] for place in range(count)]

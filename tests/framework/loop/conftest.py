"""Compiled trainers, and loops around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backends
from backends.base import Settings


@pytest.fixture(scope="session")
def trainers(backend: str) -> Callable[[int], Any]:
    """`trainers(number)`: one of the session's compiled trainers, at its first step."""
    from framework.models import catalog
    from tests.framework.loop.loops import SPEC, STEPS

    loaded = backends.load(backend)
    device = loaded.configure(Settings("cpu", 1))
    compiled: dict[int, tuple[Any, dict[str, Any]]] = {}

    def trainer(number: int) -> Any:
        if number not in compiled:
            # Other initial weights in each, so that a restored state is seen to be whole.
            student = catalog.build(SPEC.student.name, SPEC.student.options, 2, 8, number)
            made = loaded.compile(SPEC, student, [], total_steps=STEPS, device=device)
            compiled[number] = made, made.state()
        found, initial = compiled[number]
        found.restore(initial)
        return found

    return trainer


@pytest.fixture
def made(trainers: Callable[[int], Any], tmp_path: Path) -> Callable[..., Any]:
    """`made(number, ...)`: a loop from the first step on, its checkpoints in the test's folder."""
    from tests.framework.loop.loops import loop_of

    return lambda number=0, **changes: loop_of(trainers(number), tmp_path, **changes)

"""What is waited for is told, unless it is ready in a moment."""

from __future__ import annotations

import threading

import pytest

from framework.loop.waiting import waiting


def test_what_is_quick_is_not_told() -> None:
    told: list[str] = []
    with waiting("compiling the step (first time)", told.append, moment=60):
        pass
    assert told == []


def test_what_is_slow_is_told_at_once_and_timed_afterwards() -> None:
    told, said = list[str](), threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        said.set()

    with waiting("compiling the step (first time)", tell, moment=0.01):
        assert said.wait(60)
        assert told == ["compiling the step (first time) ..."]
    assert told[1:] == ["compiling the step: 0 s"]


def fails(said: threading.Event) -> None:
    assert said.wait(60)
    raise ValueError("no")


def test_what_fails_is_not_called_done() -> None:
    told, said = list[str](), threading.Event()
    with (
        pytest.raises(ValueError, match="no"),
        waiting("it", lambda line: said.set() or told.append(line), moment=0.01),
    ):
        fails(said)
    assert told == ["it ..."]

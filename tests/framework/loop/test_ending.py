"""How a loop ends: by a signal, by a fault, without memory."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from framework.errors import OutOfMemory
from framework.files.checkpoints import Checkpoints
from framework.loop.evaluator import Evaluator
from framework.loop.fit import Loop
from framework.loop.stop import Stop
from framework.protocols import Batch
from tests.framework.loop.loops import STEPS, After, equal

pytestmark = pytest.mark.backend


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, "INTERRUPTED"), (signal.SIGHUP, "INTERRUPTED"), (signal.SIGTERM, "PREEMPTED")],
)
def test_a_signal_ends_it_after_the_step(made: Callable[..., Loop], number: int, status: str) -> None:
    with Stop().listening() as stop:
        loop = made(stop=stop, progress=After(lambda step: os.kill(os.getpid(), number) if step == 2 else None))
        outcome = loop.run()
    assert (outcome.status, outcome.steps, outcome.error) == (status, 2, None)
    assert outcome.kept is not None
    assert equal(Checkpoints(outcome.kept.parent).load()[0], loop.trainer.state())
    assert "validation" not in outcome.result


def test_a_second_ctrl_c_keeps_what_there_was(made: Callable[..., Loop]) -> None:
    def twice(step: int) -> None:
        if step == 4:
            # Somebody in a hurry doesn't wait for a write that is under way; here it has ended.
            loop._saver.wait()
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with Stop().listening() as stop:
        loop = made(stop=stop, progress=After(twice))
        outcome = loop.run()
    assert (outcome.status, outcome.steps) == ("INTERRUPTED", 4)
    # The evaluation after step 3 was followed by a checkpoint.
    assert outcome.kept is not None
    assert outcome.kept.name == "step_000000003.safetensors"


def test_a_signal_during_an_evaluation_ends_it_at_once_and_keeps_the_state(made: Callable[..., Loop]) -> None:
    class Preempted(Evaluator):
        def evaluate(self, names: Any = None) -> dict[str, float]:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the evaluation went on")

    loop = made()
    loop.evaluator.__class__ = Preempted
    with loop.stop.listening():
        outcome = loop.run()
    assert (outcome.status, outcome.steps, outcome.error) == ("PREEMPTED", 3, None)
    assert outcome.kept is not None
    assert equal(Checkpoints(outcome.kept.parent).load()[0], loop.trainer.state())


def test_a_signal_during_the_last_evaluation_ends_it_at_once(made: Callable[..., Loop]) -> None:
    class Preempted(Evaluator):
        def evaluate(self, names: Any = None) -> dict[str, float]:
            if names is None:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluate(names)

    loop = made()
    loop.evaluator.__class__ = Preempted
    with loop.stop.listening():
        outcome = loop.run()
    assert (outcome.status, outcome.steps) == ("PREEMPTED", STEPS)
    assert outcome.kept is not None
    assert outcome.kept.name == "step_000000006.safetensors"


def test_a_fault_is_returned_with_what_was_kept(made: Callable[..., Loop]) -> None:
    loop = made()
    batches = loop.batches

    def broken(start: int) -> Iterator[Batch]:
        yield from itertools.islice(batches(start), 4)
        raise OSError("no such image")

    loop.batches = broken
    outcome = loop.run()
    assert (outcome.status, outcome.steps, str(outcome.error)) == ("FAILED", 4, "no such image")
    assert outcome.kept is not None
    assert outcome.kept.name == "step_000000003.safetensors"
    assert set(outcome.result) == {"steps", "checkpoints"}


@pytest.mark.parametrize("intact", [True, False])
def test_without_memory_the_last_state_is_kept_where_it_is_whole(
    intact: bool, made: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = made()
    step = loop.trainer.step

    def fails(batch: Any) -> Mapping[str, Any]:
        if loop.trainer.steps_done == 4:
            raise OutOfMemory("full", intact)
        return step(batch)

    monkeypatch.setattr(loop.trainer, "step", fails)
    outcome = loop.run()
    assert outcome.status == "FAILED"
    assert isinstance(outcome.error, OutOfMemory)
    assert loop.checkpoints is not None
    assert int(loop.checkpoints.load()[0]["step"]) == (4 if intact else 3)

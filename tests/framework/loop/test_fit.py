"""The loop with a real trainer: what it tells, how often, and that a resume is exact."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from framework.files.checkpoints import Checkpoints
from framework.loop.cadence import Cadence
from framework.loop.evaluator import nested
from framework.loop.fit import Loop
from framework.loop.progress import Progress
from framework.loop.stop import Stop
from framework.loop.waiting import waiting
from tests.framework.loop.loops import SPEC, STEPS, After, equal

pytestmark = pytest.mark.backend


def test_a_whole_run(made: Callable[..., Loop]) -> None:
    loop = made()
    outcome = loop.run()
    assert (outcome.status, outcome.steps, outcome.error) == ("COMPLETED", STEPS, None)
    recorder: Any = loop.recorder
    assert recorder.steps("train.loss") == [1, 2, 3, 4, 5, 6]
    assert recorder.steps("validation.student.accuracy") == [3, 6]
    assert recorder.steps("train.student.accuracy") == [6]
    assert outcome.result["validation"]["examples"] == 8
    assert outcome.result["train"]["examples"] == 3
    assert outcome.result["steps_per_second"] == pytest.approx(STEPS / outcome.result["seconds"])
    assert loop.checkpoints is not None
    state, metadata, _ = loop.checkpoints.load()
    assert outcome.kept == loop.checkpoints.paths()[0]
    assert equal(state, loop.trainer.state())
    assert metadata == {"fingerprint": SPEC.fingerprint, "best": None}
    assert outcome.result["checkpoints"]["written"] == 2
    assert outcome.problems == ()


def test_a_resume_is_exact(made: Callable[..., Loop]) -> None:
    whole = made(checkpoints=None)
    whole.run()
    expected = whole.trainer.state()
    stop = Stop()
    first = made(stop=stop, progress=After(lambda step: setattr(stop, "status", "PREEMPTED")))
    outcome = first.run()
    assert (outcome.status, outcome.steps) == ("PREEMPTED", 1)
    second = made(1)
    second.trainer.restore(Checkpoints(Path(str(outcome.kept)).parent).load()[0])
    resumed = second.run()
    assert resumed.steps == STEPS
    assert resumed.result["steps_per_second"] == pytest.approx((STEPS - 1) / resumed.result["seconds"])
    assert equal(second.trainer.state(), expected)


def test_a_loss_is_read_once_the_next_step_has_begun(
    made: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = made(cadence=Cadence(STEPS, log_every=2, num_evaluations=0, checkpoint_steps=4))
    trainer, step = loop.trainer, loop.trainer.step
    read: list[tuple[int, int]] = []

    class Late:
        def __init__(self, of: int) -> None:
            self.of = of

        def __float__(self) -> float:
            read.append((self.of, trainer.steps_done))
            return 1.0

    def watched(batch: Any) -> Any:
        step(batch)
        return {"loss": Late(trainer.steps_done)}

    monkeypatch.setattr(trainer, "step", watched)
    loop.run()
    # Step 4 is kept, so that it has to be looked at before.
    assert read == [(2, 3), (4, 4), (6, 6)]


def test_a_slow_first_step_is_told(made: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    told, said = list[str](), threading.Event()
    progress = Progress()
    monkeypatch.setattr(progress, "say", lambda line: (told.append(line), said.set()))
    monkeypatch.setattr("framework.loop.fit.waiting", partial(waiting, moment=0.01))
    loop = made(progress=progress, first_step="compiling the step (first time)")
    step = loop.trainer.step

    def slow(batch: Any) -> Mapping[str, Any]:
        assert said.wait(60)
        return step(batch)

    monkeypatch.setattr(loop.trainer, "step", slow)
    assert loop.run().error is None
    assert [line.partition(":")[0] for line in told] == ["compiling the step (first time) ...", "compiling the step"]


def test_nested() -> None:
    assert nested({"a.b.c": 1, "a.b.d": 2, "e": 3, "a.f": 4}) == {"a": {"b": {"c": 1, "d": 2}, "f": 4}, "e": 3}
    assert nested({}) == {}

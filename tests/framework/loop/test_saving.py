"""What a loop keeps, and when."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from framework.files.arrays import read_arrays
from framework.files.checkpoints import BEST, BEST_STUDENT, Checkpoints
from framework.loop.cadence import Cadence
from framework.loop.evaluator import Evaluator
from framework.loop.fit import Loop
from framework.loop.saving import Best
from framework.protocols import Array
from tests.framework.loop.loops import STEPS, Written, equal

pytestmark = pytest.mark.backend


class Noted(Checkpoints):
    """Remembers which steps were written; may do something before each."""

    def __init__(self, folder: Path, also: Callable[[int], Any] = lambda step: None, **rest: Any) -> None:
        super().__init__(folder, **rest)
        self.saved: list[int] = []
        self.also = also

    def save(self, state: Mapping[str, Array], metadata: Mapping[str, Any], best: bool = False) -> Path:
        self.also(int(state["step"]))
        self.saved.append(int(state["step"]))
        return super().save(state, metadata, best)


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        (Cadence(STEPS, None, 2, 1e-9), [1, 2, 3, 4, 5, 6]),
        (Cadence(STEPS, None, 2, 1e9), [3, 6]),
        (Cadence(STEPS, None, 0, 1e9, checkpoint_steps=4), [4, 6]),
        (Cadence(STEPS, None, 0, 1e9, keep_every=2), [2, 4, 6]),
    ],
)
def test_checkpoints_follow_clock_steps_and_evaluations(
    made: Callable[..., Loop], tmp_path: Path, cadence: Cadence, expected: list[int]
) -> None:
    checkpoints = Noted(tmp_path)
    made(checkpoints=checkpoints, cadence=cadence).run()
    assert checkpoints.saved == expected


def test_the_training_does_not_wait_for_the_disk(made: Callable[..., Loop], tmp_path: Path) -> None:
    later = threading.Event()
    # The write of step 2 ends when step 4 is told: not before its patience ends if the loop waited for it.
    waited: list[bool] = []
    checkpoints = Noted(tmp_path, lambda step: waited.append(later.wait(20)) if step == 2 else None)
    recorder = Written(also=lambda step: later.set() if step == 4 else None)
    outcome = made(checkpoints=checkpoints, recorder=recorder, cadence=Cadence(STEPS, 1, 0, 1e9, 2)).run()
    assert waited == [True]
    # One write at a time, none left out, each with the state of its own step.
    assert checkpoints.saved == [2, 4, 6]
    assert [int(read_arrays(path)[0]["step"]) for path in checkpoints.paths()] == [6, 4]
    assert 0 < outcome.result["checkpoints"]["blocked_seconds"] < 20


def test_the_best_is_kept_and_a_resume_goes_on_from_its_value(made: Callable[..., Loop], tmp_path: Path) -> None:
    class Scored(Evaluator):
        scores: list[float]

        def evaluate(self, names: Any = None) -> dict[str, float]:
            return {"validation.student.kl": self.scores.pop(0)}

    def run(scores: list[float], best: Best) -> Any:
        loop = made(best=best, cadence=Cadence(STEPS, 1, 3), checkpoints=Checkpoints(tmp_path, keep=1))
        loop.evaluator.__class__, loop.evaluator.scores = Scored, scores  # type: ignore[attr-defined]
        return loop.run()

    outcome = run([0.3, 0.2, 0.4], Best.by("kl"))
    assert outcome.result["checkpoints"]["best"] == {"metric": "validation.student.kl", "value": 0.2, "step": 4}
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, BEST_STUDENT, "step_000000006.safetensors"]
    state, metadata = read_arrays(tmp_path / BEST)
    assert (int(state["step"]), metadata["best"]["value"]) == (4, 0.2)
    student, _ = read_arrays(tmp_path / BEST_STUDENT)
    assert equal(
        {f"student/{name}": array for name, array in student.items()}, {n: state[n] for n in state if "student/" in n}
    )
    last = Checkpoints(tmp_path).load()[1]["best"]
    for scores, step in (([0.25, math.nan, 0.2], 4), ([0.25, 0.25, 0.1], 6)):
        run(scores, Best.by("kl", last))
        assert int(read_arrays(tmp_path / BEST)[0]["step"]) == step
    # Another measure has nothing to do with what was best before.
    assert Best.by("accuracy", last).value is None


def test_a_disk_that_takes_nothing_costs_the_checkpoint_alone(made: Callable[..., Loop], tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "busy").write_text("a file where a folder is wanted")
    checkpoints = Noted(tmp_path / "busy", lambda step: (tmp_path / "busy").unlink() if step == 4 else None)
    outcome = made(checkpoints=checkpoints, cadence=Cadence(STEPS, 1, 0, 1e9, 2), warn=told.append).run()
    assert (outcome.status, outcome.steps) == ("COMPLETED", STEPS)
    assert checkpoints.saved == [2, 4, 6]
    assert len(outcome.problems) == len(told) == 1
    assert "no checkpoint at step 2: File exists" in outcome.problems[0]
    assert told[0].startswith("warning: no checkpoint at step 2")
    assert outcome.result["checkpoints"]["written"] == 2
    assert len(checkpoints.paths()) == 2

"""Loops in turns: whoever is behind comes first, an end is one's own, and a batch is seen once for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from framework.data.loader import Loader
from framework.loop.fit import Turns
from framework.loop.progress import Lines
from framework.loop.stop import Stop
from framework.loop.together import CommonProgress, Shared, together
from framework.protocols import Batch, Outcome
from framework.spec import DistillSpec


class Counter:
    """Counts its steps, and what it saw."""

    def __init__(self, name: str, done: int, log: list[str]) -> None:
        self.name, self.steps_done, self.log = name, done, log
        self.seen: list[int] = []

    def see(self, batch: Batch) -> list[dict[str, Any]]:
        assert batch.images is not None
        self.seen.append(int(batch.images.sum()))
        return [{"batch": self.seen[-1]}]

    def turns(self, total: int, fails_at: int | None = None, error: BaseException | None = None) -> Turns:
        while self.steps_done < total:
            if self.steps_done == fails_at:
                raise error or ValueError("enough")
            self.steps_done += 1
            self.log.append(f"{self.name}{self.steps_done}")
            yield
        return Outcome("COMPLETED", self.steps_done)


def test_whoever_is_behind_comes_first() -> None:
    log: list[str] = []
    ended: list[str] = []
    a, b, c = Counter("a", 2, log), Counter("b", 0, log), Counter("c", 1, log)
    loops: Any = {"a": (a, a.turns(4)), "b": (b, b.turns(3)), "c": (c, c.turns(4, fails_at=2))}
    outcomes = together(loops, Stop(), lambda name, outcome: ended.append(f"{name} {outcome.status}"))
    assert log == ["b1", "b2", "c2", "a3", "b3", "a4"]
    assert ended == ["c FAILED", "b COMPLETED", "a COMPLETED"]
    assert str(outcomes["c"].error) == "enough"


def test_an_interruption_of_one_is_its_end_with_the_signal_s_status() -> None:
    stop = Stop()
    stop.status = "PREEMPTED"
    one = Counter("a", 0, [])
    outcomes = together({"a": (one, one.turns(3, 1, KeyboardInterrupt()))}, stop, lambda *_: None)  # type: ignore[dict-item]
    assert outcomes["a"].status == "PREEMPTED"
    assert not stop.heeded


class Numbered:
    """Images that say their own number."""

    name, num_examples, classes, uniform, fingerprint = "numbered", 7, None, (1, 1), "numbered"

    def images(self, ids: np.ndarray) -> np.ndarray:
        return (ids.astype(np.uint8) + np.zeros((1, 1, 1, len(ids)), np.uint8)).reshape(-1, 1, 1, 1)

    def sizes(self, ids: np.ndarray) -> np.ndarray:
        return np.ones((len(ids), 2), np.int32)

    def labels(self, ids: np.ndarray) -> None:
        return None


@pytest.fixture
def loader() -> Loader:
    spec = DistillSpec.from_dict({"batch_size": 3, "teaching": "consistent", "views": {"size": 1}})
    return Loader(spec, Numbered(), 6)  # type: ignore[arg-type]


def test_a_batch_is_seen_once_and_every_step_has_its_own(loader: Loader) -> None:
    leader = Counter("leader", 0, [])
    shared = Shared(loader, leader)  # type: ignore[arg-type]
    expected = [int(np.asarray(loader.batch(step).images).sum()) for step in range(6)]
    behind, ahead = shared.upto(6)(0), shared.upto(4)(2)
    found = [taken(behind), taken(behind), taken(behind), taken(ahead), taken(behind), taken(ahead)]
    assert found == [expected[step] for step in (0, 1, 2, 2, 3, 3)]
    assert leader.seen == expected[:4]
    assert next(ahead, None) is None
    # A loop that goes back gets what it had.
    assert taken(shared.upto(6)(1)) == expected[1]


def taken(seen: Iterator[Any]) -> int:
    [part] = next(seen)
    return int(part["batch"])


def test_one_bar_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    progress = CommonProgress(Lines(2, 8, 16, seconds=1e9), 2)
    for step in (1, 1, 2, 2):
        progress.update(step)
    progress.show({"validation.student.accuracy": 0.5})
    progress.show({"validation.student.accuracy": 0.25})
    assert progress.inner.shown == {"val acc": 0.5}  # type: ignore[attr-defined]
    assert len(capsys.readouterr().err.splitlines()) == 1

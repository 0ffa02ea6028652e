"""The loop with a real trainer: what it tells, what it keeps, how it ends, and that a resume is exact."""

from __future__ import annotations

import itertools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
from backends.base import Settings
from framework.data.loader import Loader
from framework.data.source import Splits
from framework.errors import OutOfMemory
from framework.files.arrays import read_arrays
from framework.files.checkpoints import BEST, BEST_STUDENT, Checkpoints
from framework.loop.evaluator import Evaluator, evaluation_batches, nested
from framework.loop.fit import Cadence, Loop
from framework.loop.progress import Progress
from framework.loop.saving import Best
from framework.loop.stop import Stop
from framework.loop.waiting import waiting
from framework.models import catalog
from framework.protocols import Array, Batch, Trainer
from framework.spec import DistillSpec

STEPS = 6
SPEC = DistillSpec.from_dict(
    {
        "student": {"name": "convnet", "options": {"widths": [4]}},
        "teachers": [],
        "teaching": "labels",
        "loss": {"task_weight": 1.0},
        "views": {"size": 8, "mixup": 0.0},
        "duration": {"total_steps": STEPS},
        "optimizer": {"lr": 0.01},
        "batch_size": 4,
        "evaluation": {"train_subset": 3, "batch_size": 8},
    }
)


class Images:
    """Eight random images of two classes."""

    name, num_examples, classes, uniform, fingerprint = "images[train]", 8, ("a", "b"), (8, 8), "0"

    def __init__(self) -> None:
        self._images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)

    def images(self, ids: Array) -> Sequence[Array]:
        return self._images[ids]  # type: ignore[return-value]

    def sizes(self, ids: Array) -> Array:
        return np.full((len(ids), 2), 8, np.int32)

    def labels(self, ids: Array) -> Array:
        return (ids % 2).astype(np.int32)


@dataclass
class Written:
    """Keeps what it is told; may do something at each step."""

    at: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    also: Callable[[int], Any] = lambda step: None

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.at.append((step, dict(values)))
        self.also(step)

    def artifact(self, path: Path) -> None: ...

    def ended(self, status: str, result: Mapping[str, Any]) -> None: ...

    def steps(self, name: str) -> list[int]:
        return [step for step, values in self.at if name in values]


@dataclass
class After(Progress):
    """Does something after each step."""

    also: Callable[[int], Any]

    def update(self, step: int) -> None:
        self.also(step)


@pytest.fixture(scope="module")
def trainers(backend: str) -> Callable[[int], Trainer]:
    """`trainers(number)`: one of the module's compiled trainers, at its first step."""
    loaded = backends.load(backend)
    device = loaded.configure(Settings("cpu", 1))
    compiled: dict[int, tuple[Trainer, dict[str, Array]]] = {}

    def trainer(number: int) -> Trainer:
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
def made(trainers: Callable[[int], Trainer], tmp_path: Path) -> Callable[..., Loop]:
    """`made(...)`: a loop from the first step on, its checkpoints in the test's folder."""

    def make(number: int = 0, **changes: Any) -> Loop:
        trainer = trainers(number)
        source = Images()
        splits = Splits(source, source, None, source.classes, "images", "0")
        given = {
            "trainer": trainer,
            "batches": Loader(SPEC, source, STEPS).batches,
            "evaluator": Evaluator(SPEC, evaluation_batches(SPEC, splits), trainer),
            "recorder": Written(),
            "cadence": Cadence(STEPS, log_every=1, num_evaluations=2),
            "checkpoints": Checkpoints(tmp_path),
            "metadata": {"fingerprint": SPEC.fingerprint},
        }
        return Loop(**(given | changes))

    return make


def equal(mine: Mapping[str, Array], theirs: Mapping[str, Array]) -> bool:
    return mine.keys() == theirs.keys() and all(np.array_equal(array, theirs[name]) for name, array in mine.items())


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


def test_a_loss_that_is_no_number_fails_and_is_never_kept(made: Callable[..., Loop]) -> None:
    loop = made()
    batches = loop.batches

    def spoiled(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start), start + 1):
            if step == 5:
                state = loop.trainer.state()
                loop.trainer.restore({n: a * np.nan if n.endswith("head/bias") else a for n, a in state.items()})
            yield batch

    loop.batches, loop.cadence = spoiled, Cadence(STEPS, log_every=100, num_evaluations=0, checkpoint_minutes=1e-9)
    outcome = loop.run()
    assert (outcome.status, outcome.steps) == ("FAILED", 5)
    assert "the loss is nan at step 5: try a lower optimizer.lr" in str(outcome.error)
    assert outcome.kept is not None
    assert outcome.kept.name == "step_000000004.safetensors"


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


def test_a_state_that_is_no_number_is_never_kept(made: Callable[..., Loop]) -> None:
    loop = made(cadence=Cadence(STEPS, 100, 0, 1e9, 2))
    step, spoil = loop.trainer.step, iter(range(STEPS))

    def spoiled(batch: Batch) -> Any:
        metrics = step(batch)
        # The loss was still finite, what it left behind is not.
        if next(spoil) == 3:
            state = loop.trainer.state()
            loop.trainer.restore({n: a * np.nan if n.endswith("head/bias") else a for n, a in state.items()})
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.trainer, "step", spoiled)
        outcome = loop.run()
    assert outcome.status == "FAILED"
    assert isinstance(outcome.error, FloatingPointError)
    assert outcome.kept is not None
    assert outcome.kept.name == "step_000000002.safetensors"


def test_the_message_names_the_first_step_that_was_no_number(made: Callable[..., Loop]) -> None:
    loop = made(cadence=Cadence(STEPS, 100, 0, 1e9), explain=lambda step: f" (draws of {step})")
    batches = loop.batches

    def spoiled(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start), start + 1):
            if step == 3:
                state = loop.trainer.state()
                loop.trainer.restore({n: a * np.nan if n.endswith("head/bias") else a for n, a in state.items()})
            yield batch

    loop.batches = spoiled
    outcome = loop.run()
    assert outcome.steps == STEPS
    assert "the loss is nan at step 3 (draws of 3): try a lower" in str(outcome.error)
    assert outcome.kept is None


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


@pytest.mark.parametrize("total", [1, 7, 10, 1000, 100_003])
@pytest.mark.parametrize("times", [0, 1, 3, 10])
def test_cadence(total: int, times: int) -> None:
    cadence = Cadence(total, num_evaluations=times)
    evaluations = [step for step in range(1, total + 1) if cadence.evaluates_at(step)]
    # The last one is the end's own.
    assert len(evaluations) == max(0, min(times, total) - 1)
    if len(evaluations) > 1:
        gaps = np.diff([0, *evaluations, total])
        assert gaps.max() - gaps.min() <= 1
    logs = [step for step in range(1, total + 1) if cadence.logs_at(step)]
    assert logs[-1] == total
    assert len(logs) <= 801
    assert len(logs) >= min(total, 400)


def test_a_cadence_over_the_logarithm_of_the_steps() -> None:
    cadence = Cadence(10_000, num_evaluations=8, spacing="log")
    steps = [step for step in range(1, 10_001) if cadence.evaluates_at(step)]
    # The last one is the end's own.
    assert steps == [3, 10, 32, 100, 316, 1000, 3162]
    assert not any(Cadence(10_000, num_evaluations=0, spacing="log").evaluates_at(step) for step in steps)
    assert not Cadence(1, num_evaluations=8, spacing="log").evaluates_at(1)


def test_log_every() -> None:
    cadence = Cadence(10, log_every=4)
    assert [step for step in range(1, 11) if cadence.logs_at(step)] == [4, 8, 10]


def test_nested() -> None:
    assert nested({"a.b.c": 1, "a.b.d": 2, "e": 3, "a.f": 4}) == {"a": {"b": {"c": 1, "d": 2}, "f": 4}, "e": 3}
    assert nested({}) == {}


def spoiling(loop: Loop, *steps: int) -> None:
    """Let the images of some steps be such that the loss is no number."""
    batches = loop.batches

    def spoiled(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start), start + 1):
            if step in steps:
                assert batch.draws is not None
                nowhere = replace(batch.draws.student, boxes=batch.draws.student.boxes * np.nan)
                batch = replace(batch, draws=replace(batch.draws, student=nowhere, teacher=nowhere))
            yield batch

    loop.batches = spoiled


@pytest.mark.parametrize("log_every", [1, 4])
def test_a_step_that_is_left_out_is_as_if_it_had_not_been(made: Callable[..., Loop], log_every: int) -> None:
    told: list[str] = []
    loop = made(
        on_nan="skip", warn=told.append, cadence=Cadence(STEPS, log_every, 0), explain=lambda step: f" <{step}>"
    )
    spoiling(loop, 2, 3, 5)
    outcome = loop.run()
    assert (outcome.status, outcome.steps, outcome.result["skipped"]) == ("COMPLETED", STEPS, 3)
    recorder: Any = loop.recorder
    assert recorder.steps("train.skipped") == [2, 3, 5]
    assert len(set(recorder.steps("train.loss"))) == len(recorder.steps("train.loss"))
    assert [line.partition(";")[0] for line in told] == [
        f"warning: the loss is nan at step {step} <{step}>" for step in (2, 3, 5)
    ]
    # The same steps by hand.
    plain = made(1, checkpoints=None)
    plain.trainer.restore(made().trainer.state())
    for batch in plain.batches(0):
        if plain.trainer.steps_done + 1 in (2, 3, 5):
            plain.trainer.steps_done += 1
        else:
            plain.trainer.step(batch)
    assert loop.checkpoints is not None
    assert equal(loop.checkpoints.load()[0], plain.trainer.state())


@pytest.mark.parametrize(("norm", "times"), [(0.0, 1), (1e-30, 0)])
def test_a_gradient_of_nothing_is_told_once(
    made: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch, norm: float, times: int
) -> None:
    told: list[str] = []
    loop = made(warn=told.append, cadence=Cadence(STEPS, 1, 0))
    step = loop.trainer.step
    monkeypatch.setattr(loop.trainer, "step", lambda batch: {**step(batch), "grad_norm": norm})
    assert loop.run().status == "COMPLETED"
    assert [line.partition(":")[2][:42] for line in told] == [" the gradient is exactly 0 at step 1, so t"] * times


def test_a_run_of_nothing_but_bad_steps_ends(made: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework.loop.skipping.MOST", 3)
    loop = made(on_nan="skip", warn=lambda line: None, cadence=Cadence(STEPS, 1, 0, 1e9))
    spoiling(loop, *range(2, STEPS + 1))
    outcome = loop.run()
    assert outcome.status == "FAILED"
    assert "the loss is nan at step 5: try a lower" in str(outcome.error)
    assert outcome.kept is None


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

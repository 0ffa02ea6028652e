"""The one training loop: steps, cadence of logging, evaluation and checkpoints, and an end that is always told."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, cast

from framework.errors import OutOfMemory
from framework.files.checkpoints import Checkpoints
from framework.loop.cadence import Cadence
from framework.loop.evaluator import Evaluator, nested
from framework.loop.progress import Progress
from framework.loop.saving import Best, Saver, newest
from framework.loop.skipping import NotFinite, Skipping
from framework.loop.stop import Stop
from framework.loop.waiting import waiting
from framework.protocols import Batch, Outcome, Recorder, Seen, Status, Trainer
from framework.world import World

# A loop a step at a time: it pauses after each, and gives its outcome at the end.
Turns = Generator[None, None, Outcome]

# How urgently a process wants all to end, as a number whose sum over the processes says it too.
_WISHES: dict[Status | None, float] = {None: 0.0, "INTERRUPTED": 1.0, "PREEMPTED": 2.0**20}


@dataclass
class Loop:
    """All that one run of the loop holds.

    Attributes:
        trainer: does the steps; it may have done some before.
        batches: gives the batches from a step on.
        evaluator: measures.
        recorder: is told of metrics.
        cadence: when what happens.
        checkpoints: where the state goes; None keeps nothing.
        metadata: plain values stored with each checkpoint.
        progress: shows how far it is.
        stop: asks the loop to end.
        best: which checkpoint is the best, and how good the best was before; None for none.
        warn: told what could not be written.
        explain: details of a step, for the message on a NaN or infinite loss.
        first_step: what the first step is waited for, in words.
        together: so many steps are asked for at once, where nothing else is due between them.
        on_nan: on a NaN or infinite loss `stop` ends the run, `skip` leaves out the step: `framework.loop.skipping`.
        world: the processes that train together: all of them end after the same step.
    """

    trainer: Trainer
    batches: Callable[[int], Iterator[Batch | Seen]]
    evaluator: Evaluator
    recorder: Recorder
    cadence: Cadence
    checkpoints: Checkpoints | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    stop: Stop = field(default_factory=Stop)
    best: Best | None = None
    warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    explain: Callable[[int], str] = lambda step: ""
    first_step: str = "the first step"
    together: int = 1
    on_nan: Literal["stop", "skip"] = "stop"
    world: World = field(default_factory=World)

    def run(self) -> Outcome:
        """Train to the end, or until asked to stop; never raises what goes wrong, but returns it."""
        return finish(self.turns())

    def turns(self) -> Turns:
        """As `run`, but with a pause after each step, in which others can have their turn."""
        started, first = time.perf_counter(), self.trainer.steps_done
        self._saver = Saver(self.checkpoints, self.metadata, self.best, self.warn) if self.checkpoints else None
        self._begun, self._unread, self._is_still = False, list[Mapping[str, Any]](), False
        self._agreed: Status | None = None
        self._told: Mapping[str, Any] | None = None
        self._due: tuple[int, Mapping[str, Any]] | None = None
        self._skipping = Skipping(self.trainer) if self.on_nan == "skip" else None
        try:
            with self.stop.heeding():
                while (bad := (yield from self._train())) is not None:
                    self._skip(bad)
                seconds = time.perf_counter() - started
                self._save({}, wait=True)
            status = self._asked or "COMPLETED"
            result = self._evaluate_all() if status == "COMPLETED" else {}
            steps = self.trainer.steps_done - first
            return self._outcome(status, result | {"seconds": seconds, "steps_per_second": steps / seconds})
        except KeyboardInterrupt as error:
            return self._outcome(self.stop.status or "INTERRUPTED", {}, error)
        except Exception as error:  # noqa: BLE001 - told to whoever called, with what was kept
            return self._failed(self.trainer.explained(error))

    def _train(self) -> Generator[None, None, NotFinite | None]:
        """Do the steps that are left; returns early with one that has to be left out."""
        saved = time.monotonic()
        for group in self._groups(self.trainer.steps_done):
            if self._skipping is not None and self._skipping.passes():
                continue
            metrics = self._steps(group)
            step = self.trainer.steps_done
            self._log_due()
            self._unread.extend(metrics)
            evaluates = self.cadence.evaluates_at(step)
            saves = evaluates or self.cadence.saves_at(step, time.monotonic() - saved)
            # A NaN or infinite loss is noticed here, before it gets into a checkpoint.
            if (saves or self.cadence.logs_at(step)) and (bad := self._look(step, metrics[-1], saves)) is not None:
                return bad
            self.progress.update(step)
            values = self._evaluate(step) if evaluates else {}
            if saves:
                self._save(values)
                saved = time.monotonic()
            yield
            self._agree(metrics[-1])
            if self._asked is not None:
                break
        self._log_due()
        return None

    @property
    def _asked(self) -> Status | None:
        """As what the loop was asked to end: this process, or all of them."""
        return self.stop.status if self.world.size == 1 else self._agreed

    def _agree(self, metrics: Mapping[str, Any]) -> None:
        """What a process wishes reaches all with the gradients of its next step, and each reads it a step later."""
        if self.world.size == 1:
            return
        self.world.moved()
        before, self._told = self._told, metrics
        wish = float(before["asked"]) if before else 0.0
        if wish:
            self._agreed = "PREEMPTED" if wish >= _WISHES["PREEMPTED"] else "INTERRUPTED"
        self.trainer.asked = _WISHES[self.stop.status]

    def _groups(self, step: int) -> Iterator[list[Batch | Seen]]:
        """The batches from a step on, as many together as are done before anything else is due."""
        batches = self.batches(step)
        while group := list(islice(batches, self._uninterrupted(step))):
            yield group
            step += len(group)

    def _uninterrupted(self, step: int) -> int:
        most = 1 if self._skipping is not None else self.together
        return next((steps for steps in range(1, most) if self.cadence.is_due_at(step + steps)), most)

    def _steps(self, group: Sequence[Batch | Seen]) -> Sequence[Mapping[str, Any]]:
        if not self._begun:
            self._begun = True
            with waiting(self.first_step, self.progress.say):
                return self._steps(group)
        return self.trainer.steps(group) if self.together > 1 else [self.trainer.step(batch) for batch in group]

    def _look(self, step: int, metrics: Mapping[str, Any], now: bool) -> NotFinite | None:
        """Log the metrics at once if something depends on them, else once the device has its next step to do."""
        if now or self._skipping is not None:
            return self._log(step, metrics)
        self._due = step, metrics
        return None

    def _log_due(self) -> None:
        due, self._due = self._due, None
        if due is not None:
            self._log(*due)

    def _log(self, step: int, metrics: Mapping[str, Any]) -> NotFinite | None:
        """Log the metrics; if any is NaN or infinite, find the first such step since the last look."""
        values = {name: float(value) for name, value in metrics.items() if name != "asked"}
        looked_at = ("loss",) if self._skipping is None else ("loss", "grad_norm")
        if not all(math.isfinite(values[name]) for name in looked_at if name in values):
            bad = NotFinite.first(self._unread, step, looked_at, self.explain)
            if self._skipping is None:
                raise bad
            return bad
        self._unread.clear()
        if values.get("grad_norm") == 0 < values["loss"] and not self._is_still:
            self._is_still = True
            self.warn(
                f"warning: the gradient is exactly 0 at step {step}, so the student learns nothing there: "
                "a stop_gradient, rounding, or activations that are all cut off?"
            )
        self.progress.show(values)
        self.recorder.metrics(step, {f"train.{name}": value for name, value in values.items()})
        if self._skipping is not None:
            self._skipping.keep()
        return None

    def _skip(self, bad: NotFinite) -> None:
        """Return to the last good state, and leave out the step."""
        assert self._skipping is not None
        self._skipping.leave_out(bad)
        self._unread.clear()
        self.warn(f"warning: {bad.told}; the run continues from the last good state, without this step")
        self.recorder.metrics(bad.step, {"train.skipped": 1.0})

    def _evaluate(self, step: int) -> dict[str, float]:
        """Measure along the way; a signal ends it at once, since the state is complete."""
        if self._asked is not None:
            return {}
        try:
            with self._at_once():
                values = self.evaluator.along_the_way()
        except KeyboardInterrupt:
            return {}
        self.recorder.metrics(step, values)
        self.progress.show(values)
        return values

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        """A signal ends this process at once, where no other waits for it."""
        self.world.moved(False)
        with self.stop.heeding(self.world.size > 1):
            yield
        self.world.moved()

    def _failed(self, error: Exception) -> Outcome:
        if isinstance(error, OutOfMemory) and error.intact:
            # Where it fails, the checkpoints of before are there.
            with contextlib.suppress(Exception):
                self._log_due()
                self._save({}, wait=True)
        return self._outcome("FAILED", {}, error)

    def _evaluate_all(self) -> dict[str, Any]:
        with self._at_once():
            values = self.evaluator.evaluate()
        self.recorder.metrics(self.trainer.steps_done, values)
        self._save(values, wait=True)
        return values

    def _save(self, values: Mapping[str, float], wait: bool = False) -> None:
        if self._saver is None:
            return
        self._saver.save(self.trainer.state, self.trainer.steps_done, values)
        if wait:
            self._saver.wait()

    def _outcome(self, status: Status, values: Mapping[str, Any], error: BaseException | None = None) -> Outcome:
        steps = self.trainer.steps_done
        self.world.moved(False)
        self.progress.close()
        skipped = {"skipped": self._skipping.count} if self._skipping is not None else {}
        result = {"steps": steps, **skipped, **values}
        problems: tuple[str, ...] = ()
        if self._saver is not None:
            # What is being written ends first, unless somebody is in a hurry.
            if not isinstance(error, KeyboardInterrupt):
                with contextlib.suppress(Exception):
                    self._saver.wait()
            problems = tuple(self._saver.problems)
            result["checkpoints"] = self._saver.report()
        return Outcome(status, steps, nested(result), error, newest(self.checkpoints), problems)


def finish(turns: Turns) -> Outcome:
    """Take all the turns of one loop."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            return cast(Outcome, end.value)

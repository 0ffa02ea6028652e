"""The one training loop: steps, cadence of logging, evaluation and checkpoints, and an end that is always told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.checkpoint import Checkpoints
from framework.measure import Evaluator, nested
from framework.progress import Progress, Silent
from framework.protocols import Batch, Outcome, Recorder, Status, Trainer
from framework.stop import Stop

# A loss is read from the device this often at most: reading waits for the step to end.
_LOGS_PER_RUN = 400


@dataclass(frozen=True)
class Cadence:
    """When the loop does what beside stepping.

    Attributes:
        total_steps: where it ends.
        log_every: steps between two logged losses; None takes 400 points a run.
        num_evaluations: evaluations of validation data, spread evenly.
        checkpoint_minutes: longest time between two checkpoints; each evaluation is followed by one anyway.
    """

    total_steps: int
    log_every: int | None = None
    num_evaluations: int = 10
    checkpoint_minutes: float = 10.0

    def logs_at(self, step: int) -> bool:
        """Whether metrics are read after so many steps."""
        every = self.log_every or max(1, self.total_steps // _LOGS_PER_RUN)
        return step % every == 0 or step == self.total_steps

    def evaluates_at(self, step: int) -> bool:
        """Whether validation data are measured after so many steps; the end is measured anyway."""
        if step == self.total_steps or not self.num_evaluations:
            return False
        return step * self.num_evaluations // self.total_steps != (step - 1) * self.num_evaluations // self.total_steps


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
    """

    trainer: Trainer
    batches: Callable[[int], Iterator[Batch]]
    evaluator: Evaluator
    recorder: Recorder
    cadence: Cadence
    checkpoints: Checkpoints | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Silent)
    stop: Stop = field(default_factory=Stop)

    def run(self) -> Outcome:
        """Train to the end, or until asked to stop; never raises what goes wrong, but returns it."""
        started, first = time.perf_counter(), self.trainer.steps_done
        try:
            with self.stop.heeding():
                self._train()
                seconds = time.perf_counter() - started
                kept = self._save()
            status = self.stop.status or "COMPLETED"
            result = self._measure() if status == "COMPLETED" else {}
            steps = self.trainer.steps_done - first
            return self._outcome(status, result | {"seconds": seconds, "steps_per_second": steps / seconds}, kept)
        except KeyboardInterrupt as error:
            return self._outcome(self.stop.status or "INTERRUPTED", {}, self._newest(), error)
        except Exception as error:  # noqa: BLE001 - told to whoever called, with what was kept
            return self._outcome("FAILED", {}, self._newest(), error)

    def _train(self) -> None:
        saved = time.monotonic()
        for batch in self.batches(self.trainer.steps_done):
            metrics = self.trainer.step(batch)
            step = self.trainer.steps_done
            evaluates = self.cadence.evaluates_at(step)
            saves = evaluates or time.monotonic() - saved > 60 * self.cadence.checkpoint_minutes
            # A loss that is no number is noticed here, before it is in a checkpoint.
            if saves or self.cadence.logs_at(step):
                self._log(step, metrics)
            self.progress.update(step)
            if evaluates:
                self._evaluate(step)
            if saves:
                self._save()
                saved = time.monotonic()
            if self.stop.status is not None:
                return

    def _log(self, step: int, metrics: Mapping[str, Any]) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is {values['loss']} at step {step}: try a lower optimizer.lr")
        self.progress.show(values)
        self.recorder.metrics(step, {f"train.{name}": value for name, value in values.items()})

    def _evaluate(self, step: int) -> None:
        values = self.evaluator.measure(["validation"])
        self.recorder.metrics(step, values)
        self.progress.show(values)

    def _measure(self) -> dict[str, Any]:
        values = self.evaluator.measure()
        self.recorder.metrics(self.trainer.steps_done, values)
        return values

    def _save(self) -> Path | None:
        if self.checkpoints is None:
            return None
        return self.checkpoints.save(self.trainer.state(), self.metadata)

    def _newest(self) -> Path | None:
        paths = self.checkpoints.paths() if self.checkpoints else []
        return paths[0] if paths else None

    def _outcome(
        self, status: Status, values: Mapping[str, Any], kept: Path | None, error: BaseException | None = None
    ) -> Outcome:
        steps = self.trainer.steps_done
        self.progress.close()
        return Outcome(status, steps, nested({"steps": steps, **values}), error, kept)

"""One distillation that is ready to run: the loop, what is kept of it, and the student that is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.base import Backend, Device
from experiments.distillation import answers, sources, storing
from experiments.distillation.checks import refuse_weak_teacher
from experiments.distillation.feed import Feed
from experiments.distillation.lineage import CHECKPOINTS, Origin
from experiments.distillation.memory import advice
from experiments.distillation.options import RunOptions
from experiments.distillation.telling import Tell, tell
from experiments.planning.estimates import available_memory
from experiments.tracking.unobserved import NoRecorder
from framework.data.loader import Loader
from framework.data.source import Splits
from framework.draws.views import draws_hash
from framework.errors import OutOfMemory, UserError
from framework.files.checkpoints import Checkpoints
from framework.loop import progress as shown
from framework.loop.cadence import Cadence
from framework.loop.evaluator import Evaluator
from framework.loop.fit import Loop, Turns, finish
from framework.loop.progress import Progress
from framework.loop.saving import Best
from framework.loop.stop import Stop
from framework.loop.waiting import waiting
from framework.protocols import Array, Batch, Outcome, Recorder, Seen, Trainer
from framework.spec import DistillSpec, schedules
from framework.spec.validation import plain
from framework.world import World

if TYPE_CHECKING:
    from keras import Model

Batches = Callable[[int], Iterator[Batch | Seen]]

# What takes longest before the first step.
BEFORE = "the evaluation before the first step"


@dataclass
class Distillation:
    """A spec made ready to run: everything that can be refused was refused before this exists.

    Attributes:
        spec: with what identifies teachers and handed over models filled in.
        classes: the logits' names, the data's or else the teacher's; None where nobody knows them.
        environment: versions, device, threads and hashes, as plain values.
        cache: the folder for what is made once.
        feed: its batches, which others may share.
        world: the processes that train it together; the first of them keeps what there is to keep.
        made_by: the command line, stored with the student.
        origin: the run that this one resumes; its state is the trainer's already.
    """

    spec: DistillSpec
    options: RunOptions
    backend: Backend
    device: Device
    splits: Splits
    student: Model
    teachers: tuple[Model, ...]
    num_classes: int
    classes: tuple[str, ...] | None
    trainer: Trainer
    total_steps: int
    environment: dict[str, Any]
    cache: Path
    feed: Feed
    world: World
    made_by: str = ""
    origin: Origin | None = None

    def run(
        self, recorder: Recorder, folder: Path | None, stop: Stop | None = None, quiet: bool = False, warn: Tell = tell
    ) -> Outcome:
        """Evaluate the teacher, train, evaluate, and store the student.

        Args:
            recorder: told of metrics and artifacts; `started` and `ended` are its owner's to call.
            folder: the run's own folder; None keeps no file.
            warn: told of files that could not be written.

        Raises:
            UserError: the teacher is weaker than `min_accuracy`.
        """
        sizes = (self.total_steps, self.spec.batch_size, self.splits.train.num_examples)
        if self.world.rank:
            recorder, folder, quiet = NoRecorder(), None, True
        progress = Progress() if quiet else shown.make(*sizes, done=self.trainer.steps_done)
        return finish(self.turns(recorder, folder, stop or Stop(), progress, warn))

    def turns(
        self,
        recorder: Recorder,
        folder: Path | None,
        stop: Stop,
        progress: Progress,
        warn: Tell,
        batches: Batches | None = None,
    ) -> Turns:
        """As `run`, a step at a time; `batches` takes the loader's place where others see the same."""
        for path in sources.keep(self.spec, folder / "sources") if folder else ():
            recorder.artifact(path)
        if self.origin is None:
            with stop.heeding(False), waiting(BEFORE, progress.say):
                recorder.metrics(0, self.before)
        best = self.options.best_by or ("kl" if self.spec.teachers else "accuracy")
        cadence = self._cadence()
        # With a look at each few steps there is nothing to be won; what others see as well comes a step at a time.
        alone = batches is None and cadence.log_steps >= self.trainer.together / 4
        loop = Loop(
            trainer=self.trainer,
            batches=batches or self.loader.batches,
            evaluator=self.evaluator,
            recorder=recorder,
            cadence=cadence,
            checkpoints=self._checkpoints(folder) if folder else None,
            metadata=self._metadata(),
            progress=progress,
            stop=stop,
            best=Best.by(best, self.origin.metadata.get("best") if self.origin else None),
            warn=warn,
            explain=self.explain,
            first_step=self.trainer.first_step,
            together=self.trainer.together if alone else 1,
            on_nan=self.options.on_nan,
            world=self.world,
        )
        outcome = yield from loop.turns()
        if isinstance(outcome.error, OutOfMemory):
            outcome = replace(outcome, error=self._advised(outcome.error))
        if folder and outcome.status == "COMPLETED":
            outcome = self._kept(recorder, folder, outcome, warn)
        return outcome

    def _advised(self, error: OutOfMemory) -> OutOfMemory:
        """The same error, with what takes less memory in place of the library's words."""
        free = available_memory() if self.device.kind == "cpu" else self.device.memory
        told = advice(self.spec, self.options, self.device, self.student, self.teachers, free)
        advised = OutOfMemory(told, error.intact)
        advised.__cause__ = error
        return advised

    @cached_property
    def before(self) -> dict[str, float]:
        """Evaluations before the first step, of a run that resumes none.

        Raises:
            UserError: the teacher is weaker than `min_accuracy`.
        """
        measured = dict(self.evaluator.evaluate(["validation", "test"]))
        refuse_weak_teacher(self.spec, measured, len(self.splits.classes) if self.splits.classes else None)
        return measured

    @cached_property
    def evaluator(self) -> Evaluator:
        """Measures the student and the teachers."""
        return self.feed.evaluator(self.spec, self.splits, self.trainer)

    def _kept(self, recorder: Recorder, folder: Path, outcome: Outcome, warn: Tell) -> Outcome:
        """Store the student; a disk that doesn't take it ends no run that has a result to write down."""
        try:
            for path in (*self.store_student(folder / "student", outcome), *self._answers(folder, warn)):
                recorder.artifact(path)
        except OSError as error:
            line = f"the student is not stored: {error.strerror or error} ({folder / 'student'})"
            warn(f"warning: {line}")
            return replace(outcome, problems=(*outcome.problems, line))
        return outcome

    def _answers(self, folder: Path, warn: Tell) -> list[Path]:
        """What student and teacher say of the test images, for `runs report`."""
        split = answers.split_of(self.splits)
        if split is None:
            return []
        try:
            return [answers.write(folder / answers.FILE, split, self.splits, self.evaluator.answers(split))]
        except (OSError, UserError) as error:
            warn(f"warning: the answers to the {split} images are not stored: {error}")
            return []

    @property
    def loader(self) -> Loader:
        """The training batches."""
        hashes = [each["sha256"] for each in self.environment["teachers"]]
        return self.feed.loader(self.spec, self.splits, self.trainer, hashes, self.cache)

    def _cadence(self) -> Cadence:
        options, epochs = self.options, self.options.checkpoint_epochs
        epoch = self.splits.train.num_examples / self.spec.batch_size
        steps = [options.checkpoint_steps, max(1, round(epochs * epoch)) if epochs else None]
        return Cadence(
            self.total_steps,
            log_every=options.log_every,
            num_evaluations=self.spec.evaluation.num_times,
            spacing=self.spec.evaluation.spacing,
            checkpoint_minutes=options.checkpoint_minutes,
            checkpoint_steps=min(filter(None, steps), default=None),
            keep_every=options.keep_every,
        )

    def _checkpoints(self, folder: Path) -> Checkpoints:
        own, options = folder / CHECKPOINTS, self.options
        superseded = [other for other in self.origin.superseded if other != own] if self.origin else []
        return Checkpoints(own, options.keep_checkpoints, options.keep_every, superseded)

    def _metadata(self) -> dict[str, Any]:
        spec = {"spec": self.spec.to_dict(), "fingerprint": self.spec.fingerprint, "total_steps": self.total_steps}
        return {**spec, **self.environment, "options": plain(self.options), "made_by": self.made_by}

    def explain(self, step: int) -> str:
        """What a step worked with, for the message on a loss that is NaN or infinite; `step` counts it."""
        batch = self.loader.batch(step - 1)
        draws, silent = batch.draws, self._teacher_without_numbers(batch)
        factor = schedules.make(self.spec.schedule, self.total_steps)(step - 1)
        rate = f"learning rate {self.spec.optimizer.lr * factor:g}"
        told = f"{rate}, draws {draws_hash(draws)}" if draws is not None else rate
        return f" ({told}{silent})"

    def _teacher_without_numbers(self, batch: Batch) -> str:
        """Which teacher is to blame for it, if one is."""
        if not self.spec.teachers:
            return ""
        answers = batch.targets or self.trainer.teach(batch)
        names = [
            each.name
            for each, logits in zip(self.spec.teachers, answers, strict=True)
            if not np.isfinite(np.asarray(logits, np.float32)).all()
        ]
        return f"; the teacher {names[0]!r} gives NaN or infinite logits for this batch" if names else ""

    def store_student(self, folder: Path, outcome: Outcome) -> list[Path]:
        """Put the trained student into a folder; returns the files, as `storing.store` does."""
        return storing.store(
            folder,
            self.spec,
            self.student,
            self._weights(),
            self.options.store_dtype,
            classes=self.classes,
            num_classes=self.num_classes,
            result=plain(outcome.result),
            made_by=self.made_by,
        )

    def trained_student(self) -> Model:
        """The Keras student, with what the trainer has learned assigned to it."""
        return storing.with_weights(self.student, self._weights())

    def _weights(self) -> dict[str, Array]:
        state = self.trainer.state()
        return {name.removeprefix("student/"): array for name, array in state.items() if name.startswith("student/")}

"""One distillation from spec to stored student: data, models, trainer, loop. Commands and Python users share it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backends
from backends.base import Backend, Device
from experiments import teachers as stored_teachers
from experiments.checks import check_outputs, num_outputs, refuse_weak_teacher
from experiments.options import RunOptions
from experiments.tracking.journal import default_root
from framework import data as data_layer
from framework import progress as shown
from framework import store
from framework.checkpoint import Checkpoints
from framework.data.loader import Loader
from framework.data.source import Splits
from framework.data.targets import make
from framework.errors import UserError
from framework.fit import Cadence, Loop
from framework.measure import Evaluator
from framework.progress import Silent
from framework.protocols import Array, Outcome, Recorder, Trainer
from framework.spec import DistillSpec, ModelSpec
from framework.stop import Stop
from framework.teachings import resolve
from framework.validation import plain

if TYPE_CHECKING:
    from keras import Model

# The name, in a spec, of a model that was handed over as an object.
GIVEN = "given"
# The file of such a student, which no name builds again.
GIVEN_FILE = "student.keras"


class NoRecorder:
    """Writes nothing down."""

    def started(self, spec: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """See `Recorder`."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Recorder`."""

    def artifact(self, path: Path) -> None:
        """See `Recorder`."""

    def ended(self, status: str, result: Mapping[str, Any]) -> None:
        """See `Recorder`."""


@dataclass
class Distillation:
    """A spec made ready to run: everything that can be refused was refused before this exists.

    Attributes:
        spec: with what identifies teachers and handed over models filled in.
        options: how it is run.
        backend: the engine.
        device: where it computes.
        splits: the data.
        student: the Keras model that is trained.
        num_classes: its logits.
        trainer: the compiled step.
        total_steps: where it ends.
        environment: versions, device, threads and hashes, as plain values.
        cache: the folder for what is made once.
        made_by: the command line, stored with the student.
    """

    spec: DistillSpec
    options: RunOptions
    backend: Backend
    device: Device
    splits: Splits
    student: Model
    num_classes: int
    trainer: Trainer
    total_steps: int
    environment: dict[str, Any]
    cache: Path
    made_by: str = ""

    def run(self, recorder: Recorder, folder: Path | None, stop: Stop | None = None, quiet: bool = False) -> Outcome:
        """Evaluate the teacher, train, evaluate, and store the student.

        Args:
            recorder: told of metrics and artifacts; `started` and `ended` are its owner's to call.
            folder: the run's own folder; None keeps no file.
            stop: ends the run when asked.
            quiet: show no progress.

        Raises:
            UserError: the teacher is weaker than `min_accuracy`.
        """
        evaluator = Evaluator(self.spec, self.splits, self.trainer)
        before = evaluator.measure(["validation", "test"])
        recorder.metrics(0, before)
        refuse_weak_teacher(self.spec, before)
        loader = self._loader()
        outcome = self._loop(loader, evaluator, recorder, folder, stop or Stop(), quiet).run()
        if folder and outcome.status == "COMPLETED":
            for path in self.store_student(folder / "student", outcome):
                recorder.artifact(path)
        return outcome

    def _loader(self) -> Loader:
        """The training batches, with the teachers' targets where the teaching makes them before."""
        loader = Loader(self.spec, self.splits.train, self.total_steps)
        if not resolve(self.spec.teaching, self.spec.views.mixup).averaged:
            return loader
        hashes = [each["sha256"] for each in self.environment["teachers"]]
        return Loader(self.spec, self.splits.train, self.total_steps, make(loader, self.trainer, hashes, self.cache))

    def _loop(
        self, loader: Loader, evaluator: Evaluator, recorder: Recorder, folder: Path | None, stop: Stop, quiet: bool
    ) -> Loop:
        source, options = self.splits.train, self.options
        times = self.spec.evaluation.num_times
        sizes = (self.total_steps, self.spec.batch_size, source.num_examples)
        return Loop(
            self.trainer,
            loader.batches,
            evaluator,
            recorder,
            Cadence(self.total_steps, options.log_every, times, options.checkpoint_minutes),
            Checkpoints(folder / "checkpoints", options.keep_checkpoints) if folder else None,
            {"spec": self.spec.to_dict(), "fingerprint": self.spec.fingerprint, **self.environment},
            Silent() if quiet else shown.make(*sizes),
            stop,
        )

    def store_student(self, folder: Path, outcome: Outcome) -> list[Path]:
        """Put the trained student into a folder that serves as a teacher or for later use.

        Returns:
            The files: a model card and weights; for a student that was handed over as an object, one `.keras` file.
        """
        if self.spec.student.name == GIVEN:
            folder.mkdir(parents=True, exist_ok=True)
            self.trained_student().save(folder / GIVEN_FILE)
            return [folder / GIVEN_FILE]
        dtype = self.options.store_dtype
        # Counters and seeds stay what they are.
        weights = {name: a.astype(dtype) if a.dtype.kind in "fV" else a for name, a in self._weights().items()}
        store.save(folder, self._card(outcome), weights)
        return [folder / store.CARD, folder / store.WEIGHTS]

    def trained_student(self) -> Model:
        """The Keras student, with what the trainer has learned assigned to it."""
        from framework.models.initial import assign

        assign(self.student, self._weights())
        return self.student

    def _weights(self) -> dict[str, Array]:
        state = self.trainer.state()
        return {name.removeprefix("student/"): array for name, array in state.items() if name.startswith("student/")}

    def _card(self, outcome: Outcome) -> store.ModelCard:
        name = self.spec.student.name
        return store.ModelCard(
            # A relative path would mean another file elsewhere.
            name=str(Path(name).resolve()) if name.endswith(".keras") else name,
            options=self.spec.student.options,
            classes=self.splits.classes,
            num_classes=self.num_classes,
            image_size=self.spec.views.size,
            fingerprint=self.spec.fingerprint,
            result=plain(outcome.result),
            made_by=self.made_by,
        )


def prepare(
    spec: DistillSpec,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    *,
    student: Model | None = None,
    teacher: Model | None = None,
    splits: Splits | None = None,
    root: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Distillation:
    """Find data and teachers, build the models, compile the trainer.

    Args:
        spec: the distillation.
        options: how to run it.
        student, teacher: built Keras models to take instead of the spec's.
        splits: data to take instead of the spec's.
        root: the folder for caches; by default where runs go.
        tell: takes one-line remarks for the user.

    Raises:
        UserError: anything that the user can mend.
    """
    root = root or default_root()
    backend = backends.load(backends.choose(options.backend))
    splits = splits or _load(spec, root, tell)
    # A teacher may have to be trained first, with a precision of its own: the process is configured after that.
    folders = [None if teacher else stored_teachers.find(each, root, options, tell) for each in spec.teachers]
    device = backend.configure(options.device, options.threads or _default_threads(spec), spec.precision)
    models = [teacher] if teacher else stored_teachers.build_all(spec, folders, splits, root)
    spec, hashes = _identified(spec, folders, models, bool(teacher))
    num_classes = (
        len(splits.classes) if splits.classes else num_outputs(models[0], spec, "teacher", spec.teacher_sizes[0])
    )
    if student is not None:
        given = {"model": student.name, "sha256": stored_teachers.digest(student)}
        spec = replace(spec, student=ModelSpec(name=GIVEN, options=given))
    else:
        student = build_student(spec.student, num_classes, spec, root)
    check_outputs(student, models, splits, spec)
    total_steps = spec.duration.steps(splits.train.num_examples, spec.batch_size)
    trainer = backend.compile(spec, student, models, total_steps=total_steps, device=device, jit=options.compile)
    weights = stored_teachers.weights_hashes(spec, root)
    environment = _environment(backend, device, splits) | {"teachers": hashes, "weights": weights}
    ready = (spec, options, backend, device, splits, student, num_classes, trainer, total_steps, environment)
    return Distillation(*ready, root / "cache")


def build_student(model: ModelSpec, num_classes: int, spec: DistillSpec, root: Path | None = None) -> Model:
    """Build the spec's student, with the weights that `weights` names; `root` is the folder for caches."""
    from framework.models import catalog

    built = catalog.build(model.name, model.options, num_classes, spec.views.size, spec.seed)
    if model.weights is not None:
        stored_teachers.fill(built, stored_teachers.located(model.weights, root), num_classes, model.dont_load)
    return built


def _load(spec: DistillSpec, root: Path, tell: Callable[[str], None]) -> Splits:
    splits = data_layer.load(spec.data, root / "cache")
    for note in (*splits.notes, *_hints(spec)):
        tell(note)
    if splits.classes is None and spec.loss.task_weight > 0:
        raise UserError(f"loss.task_weight > 0 needs labels, and data {spec.data.name!r} have none")
    return splits


def _hints(spec: DistillSpec) -> list[str]:
    hints, decay = [], spec.optimizer.weight_decay
    if decay > 0.01:
        meant = decay * spec.optimizer.lr
        hints.append(
            f"hint: optimizer.weight_decay = {decay:g} is not multiplied by lr here; elsewhere's {decay:g} is {meant:g}"
        )
    if resolve(spec.teaching, spec.views.mixup).averaged:
        crops = spec.views.target_crops
        hints.append(f"teaching = {spec.teaching}: the teacher sees {crops} crops of each image first; they are kept")
    return hints


def _default_threads(spec: DistillSpec) -> int | None:
    """One thread for small views, where more of them only wait for each other; the library's choice otherwise."""
    return 1 if max((spec.views.size, *spec.teacher_sizes)) <= 32 else None


def _identified(
    spec: DistillSpec, folders: Sequence[Path | None], models: Sequence[Model], given: bool
) -> tuple[DistillSpec, list[dict[str, str]]]:
    """The spec with each teacher's fingerprint (of what made it, else of its weights), and their hashes."""
    if len(models) != len(spec.teachers):
        raise UserError(f"teaching = {spec.teaching!r}: expected {len(spec.teachers)} teachers, received {len(models)}")
    filled, hashes = [], []
    for each, folder, model in zip(spec.teachers, folders, models, strict=True):
        card = store.load_card(folder) if folder else None
        sha256 = card.sha256 if card else stored_teachers.digest(model)
        fingerprint = (card.fingerprint if card else "") or sha256[:16]
        normalize = each.normalize or (card.normalize if card else None)
        name = GIVEN if given else each.name
        filled.append(replace(each, name=name, fingerprint=fingerprint, normalize=normalize))
        hashes.append({"sha256": sha256, "fingerprint": fingerprint})
    return replace(spec, teachers=tuple(filled)), hashes


def _environment(backend: Backend, device: Device, splits: Splits) -> dict[str, Any]:
    versions = {"python": platform.python_version(), "numpy": metadata.version("numpy"), **backend.versions()}
    return {
        "backend": backend.name,
        "versions": versions,
        "device": device.description,
        "device_name": device.name,
        "threads": device.threads,
        "data_fingerprint": splits.fingerprint,
    }


__all__ = ["Distillation", "NoRecorder", "RunOptions", "build_student", "prepare"]

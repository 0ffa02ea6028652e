"""From a spec to a distillation that is ready to run. Commands and Python users share it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backends
from backends.base import Backend, Device
from experiments.distillation import hints, precision, sources, teachers, weights
from experiments.distillation.checks import admit_student, admit_teacher, check_outputs, num_outputs, try_functions
from experiments.distillation.distillation import Distillation
from experiments.distillation.feed import Feed
from experiments.distillation.memory import too_little
from experiments.distillation.options import RunOptions
from experiments.distillation.teachers import Teacher
from experiments.distillation.telling import Tell, nobody
from experiments.distributed.joining import joined
from experiments.tracking.folders import default_root
from framework import data as data_layer
from framework.data.source import Splits
from framework.errors import UserError
from framework.spec import GIVEN, DistillSpec, ModelSpec
from framework.world import World

if TYPE_CHECKING:
    from keras import Model


@dataclass(frozen=True)
class Common:
    """What distillations of the same data, views, teachers and precision can share.

    Attributes:
        device: the backend's, configured.
        teachers: all of them, in the spec's order.
        feed: batches, where several are trained at once; None for each its own.
    """

    backend: Backend
    device: Device
    splits: Splits
    teachers: tuple[Teacher, ...]
    feed: Feed | None = None


def gather(
    spec: DistillSpec,
    options: RunOptions,
    root: Path,
    teacher: Any = None,
    splits: Splits | None = None,
    tell: Tell = nobody,
) -> Common:
    """Find data and teachers; arguments and errors as in `prepare`."""
    backend = backends.load(backends.choose(options.backend))
    splits = splits or load_data(spec, root, tell)
    device = backend.configure(options.settings(spec, root / "cache"))
    found = (teachers.handed_over(spec, teacher),) if teacher is not None else teachers.load(spec, splits, root, tell)
    for each in found:
        admit_teacher(each)
        for line in hints.of_teacher(spec, each, splits):
            tell(line)
    if any(each.spec.precision for each in found):
        found = precision.compared(spec, found, splits, root, tell)
    return Common(backend, device, splits, found)


def prepare(
    spec: DistillSpec,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    *,
    student: Any = None,
    teacher: Any = None,
    splits: Splits | None = None,
    root: Path | None = None,
    tell: Tell = nobody,
    common: Common | None = None,
    alone: bool = False,
) -> Distillation:
    """Find data and teachers, build the models, compile the trainer.

    What `trained.train_missing` would train is there already.

    Args:
        student, teacher: built Keras models, or modules of the backend's own library, to take instead of the spec's.
        splits: data to take instead of the spec's.
        root: the folder for caches; by default where runs go.
        common: what another distillation of the same data, views and teachers has found.
        alone: compute on one device, whatever others do.

    Raises:
        UserError: anything that the user can mend.
    """
    root = root or default_root()
    if student is not None and student is teacher:
        raise UserError("student and teacher are one object, and the student is trained in place: hand over a copy")
    common = common or gather(spec, options, root, teacher, splits, tell)
    spec = replace(spec, teachers=tuple(each.spec for each in common.teachers))
    num_classes = num_logits(common)
    if student is not None:
        student, spec = _given(student, spec)
    else:
        student = _built(spec, options, num_classes, root, tell)
    admit_student(student, spec)
    check_outputs(student, common.teachers, common.splits, spec)
    try_functions(spec, num_classes)
    models = tuple(each.model for each in common.teachers)
    if line := too_little(spec, options, common.device, student, models):
        tell(line)
    hashes = weights.hashes(spec, root)
    spec = sources.identified(weights.to_be_stored(spec, hashes))
    total_steps = spec.duration.steps(common.splits.train.num_examples, spec.batch_size)
    world = World() if alone else replace(joined(options.rank_timeout), devices=common.device.count)
    return Distillation(
        spec=spec,
        options=options,
        backend=common.backend,
        device=common.device,
        splits=common.splits,
        student=student,
        teachers=models,
        num_classes=num_classes,
        classes=common.splits.classes or teachers.output_names(common.teachers),
        trainer=common.backend.compile(
            spec,
            student,
            models,
            total_steps=total_steps,
            device=common.device,
            jit=options.compile,
            grad_accum_steps=options.grad_accum_steps,
            world=world,
        ),
        total_steps=total_steps,
        environment=_environment(common, options, hashes) | {"processes": world.size, "devices": world.devices},
        cache=root / "cache",
        feed=common.feed or Feed(total_steps, world),
        world=world,
    )


def num_logits(common: Common) -> int:
    """How many logits a student has: the data's classes, else the teacher's outputs."""
    if common.splits.classes:
        return len(common.splits.classes)
    first = common.teachers[0]
    return num_outputs(first.model, first.size, "teacher")


def _given(student: Any, spec: DistillSpec) -> tuple[Model, DistillSpec]:
    """A student that was handed over, and the spec that says which it is."""
    from framework.models import catalog

    model = catalog.given(student, "student", spec.views.size, _seed(spec))
    about = {"model": model.name, "sha256": weights.digest(model)}
    return model, replace(spec, student=ModelSpec(name=GIVEN, options=about))


def _seed(spec: DistillSpec) -> int:
    return spec.seed if spec.init_seed is None else spec.init_seed


def _built(spec: DistillSpec, options: RunOptions, num_classes: int, root: Path, tell: Tell) -> Model:
    # It imports Keras, which needs the backend to be loaded.
    from framework.models.catalog import rematerialised

    with rematerialised(spec.student.name) if options.remat else nullcontext():
        return build_student(spec.student, num_classes, spec, root, tell)


def build_student(
    model: ModelSpec, num_classes: int, spec: DistillSpec, root: Path | None = None, tell: Tell = nobody
) -> Model:
    """Build the spec's student, with the weights that `weights` names; `root` is the folder for caches."""
    return weights.built(model, num_classes, spec.views.size, _seed(spec), root, own_head=True, tell=tell)


def load_data(
    spec: DistillSpec, root: Path, tell: Tell, check: Callable[[DistillSpec, Any], None] | None = None
) -> Splits:
    """The data of a spec, with what there is to say about them.

    Before an image is decoded, `check` may refuse the data's classes for the spec. Errors as in `prepare`.
    """

    def checked(classes: tuple[str, ...] | None) -> None:
        if classes is None and spec.loss.task_weight > 0:
            raise UserError(f"loss.task_weight > 0 needs labels, and data {spec.data.name!r} have none")
        if check is not None:
            check(spec, classes)

    splits = data_layer.load(spec.data, root / "cache", check=checked)
    for note in (*splits.notes, *_hints(spec)):
        tell(note)
    return splits


def _hints(spec: DistillSpec) -> list[str]:
    hints, decay = [], spec.optimizer.weight_decay
    if decay > 0.01:
        meant = decay * spec.optimizer.lr
        hints.append(
            f"hint: optimizer.weight_decay = {decay:g} is not multiplied by lr here: "
            f"a decay of {decay:g} in other libraries is {meant:g} here"
        )
    if spec.scheme.averaged:
        crops = spec.views.target_crops
        hints.append(f"teaching = {spec.teaching}: the teacher sees {crops} crops of each image first; they are kept")
    return hints


def _environment(common: Common, options: RunOptions, hashes: Mapping[str, Any]) -> dict[str, Any]:
    backend, device = common.backend, common.device
    versions = {"python": platform.python_version(), "numpy": metadata.version("numpy"), **backend.versions()}
    return {
        "backend": backend.name,
        "versions": versions,
        "device": device.description,
        "device_name": device.name,
        "threads": device.threads,
        "data_fingerprint": common.splits.fingerprint,
        "train_examples": common.splits.train.num_examples,
        "teachers": [each.identity() for each in common.teachers],
        "weights": hashes,
        "tf32": options.tf32,
        "deterministic": options.deterministic,
    }

"""From a spec to a distillation that is ready to run. Commands and Python users share it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backends
from backends.base import Backend, Device
from experiments import teachers as stored_teachers
from experiments.checks import check_outputs, num_outputs
from experiments.distilling import Distillation
from experiments.options import RunOptions
from experiments.resuming import GIVEN
from experiments.tracking.journal import default_root
from framework import data as data_layer
from framework import store
from framework.data.source import Splits
from framework.errors import UserError
from framework.spec import DistillSpec, ModelSpec
from framework.teachings import resolve

if TYPE_CHECKING:
    from keras import Model


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
    device = backend.configure(options.device, options.threads_for(spec), spec.precision, root / "cache")
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
    weights = stored_teachers.weights_hashes(spec, root)
    spec = stored_teachers.to_be_stored(spec, weights)
    total_steps = spec.duration.steps(splits.train.num_examples, spec.batch_size)
    trainer = backend.compile(spec, student, models, total_steps=total_steps, device=device, jit=options.compile)
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

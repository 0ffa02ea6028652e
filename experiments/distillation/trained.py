"""Teachers that are made when they are first asked for: before the run that they teach is prepared."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import backends
from experiments.config import recipe_spec
from experiments.distillation import packaged
from experiments.distillation.checks import admit_student, check_length, check_teachers, try_functions
from experiments.distillation.naming import TRAINED, trained_folder
from experiments.distillation.options import RunOptions
from experiments.distillation.outputs import to_be_built
from experiments.distillation.prepare import build_student, load_data, prepare
from experiments.distillation.telling import Tell, nobody
from experiments.distributed.joining import joined
from experiments.tracking.unobserved import NoRecorder
from framework.data.source import Splits
from framework.files import stored
from framework.spec import DistillSpec
from framework.world import check_parts, in_turn

_PATIENCE = 3600.0


def data_for(spec: DistillSpec, options: RunOptions, root: Path, tell: Tell = nobody) -> Splits:
    """The data of a spec, with its teachers in place: what can't be trained on ends before a teacher is trained.

    Call it before `prepare`.

    Raises:
        UserError: the data can't be trained on, or a teacher, student or schedule doesn't fit them.
    """
    backend = backends.load(backends.choose(options.backend))
    splits = load_data(spec, root, tell, _check)
    check_length(spec, splits.train.num_examples)
    for each in spec.teachers:
        if each.name in packaged.PACKAGED:
            packaged.keep(each.name, root)
    ours = [each for each in spec.teachers if each.name in TRAINED]
    if any(not stored.is_stored(trained_folder(each.name, root)) for each in ours):
        # What would be refused once the teacher is trained.
        student = build_student(spec.student, _num_logits(spec, splits.classes), spec, root)
        admit_student(student, spec)
        world = replace(joined(options.rank_timeout), devices=backend.configure(options.settings(spec)).count)
        turns = in_turn(spec.batch_size, spec.batch_norm_size, options.grad_accum_steps, world)
        check_parts(spec.batch_size, turns, student, world, backend.equal, spec.batch_norm_size)
        train_missing(spec, options, root, tell)
    return splits


def _check(spec: DistillSpec, classes: tuple[str, ...] | None) -> None:
    check_teachers(spec, None if classes is None else len(classes), classes)
    try_functions(spec, _num_logits(spec, classes))


def _num_logits(spec: DistillSpec, classes: tuple[str, ...] | None) -> int:
    """The data's classes, else the first teacher's outputs; 0 where nothing says."""
    if classes is not None:
        return len(classes)
    return to_be_built(spec.teachers[0], None)[1] if spec.teachers else 0


def train_missing(spec: DistillSpec, options: RunOptions, root: Path, tell: Tell = nobody) -> None:
    """Train the teachers of a spec that are trained here and are not yet: once, for all backends.

    It leaves the process configured for that training: call it before `prepare`, which configures it for the spec.
    """
    for teacher in spec.teachers:
        if teacher.name in TRAINED:
            _train_once(TRAINED[teacher.name], trained_folder(teacher.name, root), options, root, tell)


def _train_once(recipe: str, folder: Path, options: RunOptions, root: Path, tell: Tell) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _acquired(folder, recipe, tell):
        if stored.is_stored(folder):
            return
        tell(f"training the teacher {recipe!r}, once")
        ready = prepare(recipe_spec(recipe), replace(options, devices=None), root=root, alone=True)
        ready.made_by = f"python -m experiments.teacher with {recipe}"
        ready.store_student(folder, ready.run(NoRecorder(), None).well())


def _acquired(folder: Path, recipe: str, tell: Tell) -> AbstractContextManager[Any]:
    lock = FileLock(folder.with_suffix(".lock"), mode=0o600)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        tell(f"waiting for another process that is training the teacher {recipe!r}")
    try:
        return lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise TimeoutError(f"another process has been training {folder} for {_PATIENCE:.0f} s") from None

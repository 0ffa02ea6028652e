"""The numerics of a distillation, written once: inputs, views, loss, evaluation. A trainer adds autodiff and jit.

Shapes: B batch, H and W canvas, S view, C classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from keras import ops

from framework import evaluation, optimizers, schedules, views
from framework.errors import UserError
from framework.losses import DISTANCES, ENSEMBLES, cross_entropy
from framework.models.initial import parameters
from framework.named import find
from framework.optimizers.base import decays
from framework.protocols import Batch, EvalBatch, ViewDraws
from framework.spec import DistillSpec
from framework.teachings import CONSTANT, RESIZED_FIRST, resolve

Tensor = Any
Inputs = Mapping[str, Any]


class Task:
    """A spec with its models: all that a backend compiles.

    Args:
        spec: the distillation.
        student: a built Keras model, [B, S, S, 3] to logits [B, C].
        teachers: built Keras models of the same signature, one for each of `spec.teachers`.
        total_steps: length of the schedule.
    """

    def __init__(self, spec: DistillSpec, student: Any, teachers: Sequence[Any], total_steps: int) -> None:
        if len(teachers) != len(spec.teachers):
            raise UserError(f"the spec has {len(spec.teachers)} teachers, received {len(teachers)} models")
        self.spec, self.student, self.teachers = spec, student, tuple(teachers)
        self.total_steps = total_steps
        self.dtype = "float64" if spec.precision == "float64" else "float32"
        teaching = resolve(spec.teaching, spec.views.mixup)
        self.mixes, self.averaged = teaching.mixup > 0, teaching.averaged
        # Nothing is added to a view that is always the same.
        plain = replace(spec.views, augmentations=())
        self.view_specs = {who: plain if crop in CONSTANT else spec.views for who, crop in teaching.crops.items()}
        self.beyond = {who: crop in RESIZED_FIRST for who, crop in teaching.crops.items()}
        self.optimizer = optimizers.make(spec.optimizer)
        self.schedule = schedules.make(spec.schedule, total_steps)
        self.distance = find(spec.loss.distance, DISTANCES, "loss.distance")
        for name in spec.views.augmentations:
            find(name, views.AUGMENTATIONS, "views.augmentations")

    @cached_property
    def names(self) -> tuple[list[str], list[str]]:
        """Names of the student's trainable variables and of the others, in Keras's order."""
        by_variable = {id(variable): name for name, variable in parameters(self.student).items()}
        trainable, others = self.student.trainable_variables, self.student.non_trainable_variables
        return [by_variable[id(v)] for v in trainable], [by_variable[id(v)] for v in others]

    @cached_property
    def decayed(self) -> list[bool]:
        """For each trainable variable, whether weight decay applies."""
        variables = zip(self.names[0], self.student.trainable_variables, strict=True)
        return [decays(name, len(variable.shape)) for name, variable in variables]

    def inputs(self, batch: Batch, step: int) -> dict[str, np.ndarray]:
        """All numbers that one step takes, as arrays under fixed names.

        Args:
            batch: images and draws, or rendered views.
            step: number of updates done before; it decides the schedule's factor and the bias corrections.

        Raises:
            ValueError: there is nothing in the batch to see, or its targets are missing.
        """
        if self.averaged and batch.targets is None:
            raise ValueError(f"teaching = {self.spec.teaching!r}: a batch carries its targets")
        scalars = self.optimizer.scalars(step, self.schedule)
        arrays = {f"scalar.{name}": np.asarray(value, self.dtype) for name, value in scalars.items()}
        if batch.labels is not None and self.spec.loss.task_weight > 0:
            arrays["labels"] = batch.labels.astype(np.int32)
        for index, target in enumerate(batch.targets or ()):
            arrays[f"target{index}"] = target.astype(self.dtype)
        return arrays | self.shown(batch)

    def shown(self, batch: Batch) -> dict[str, np.ndarray]:
        """What `views` takes of a batch, as arrays under fixed names."""
        return self._rendered(batch) if batch.views is not None else self._canvases(batch)

    def _rendered(self, batch: Batch) -> dict[str, np.ndarray]:
        assert batch.views is not None
        student, *others = batch.views
        arrays = {"view.student": student, "mix": np.asarray(batch.mix, self.dtype)}
        for size, view in zip(self.spec.view_sizes, others, strict=bool(self.teachers)):
            if view is not student:
                arrays[f"view.teacher@{size}"] = view
        if batch.draws is not None and self.spec.views.augmentations:
            arrays |= {"student.extra": batch.draws.student.extra, "teacher.extra": batch.draws.teacher.extra}
        return arrays

    def _canvases(self, batch: Batch) -> dict[str, np.ndarray]:
        if batch.images is None or batch.draws is None:
            raise ValueError("a batch carries images with draws, or views")
        draws = batch.draws
        arrays = {"images": batch.images, "mix": np.asarray(draws.mix, self.dtype)}
        arrays |= _named_draws("student", draws.student)
        return arrays if draws.shared else arrays | _named_draws("teacher", draws.teacher)

    def views(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The student's view and each teacher's, mixed: [B, S, S, 3] in [-1, 1]; one object where they are the same.

        Where the targets are given, the teachers have no view of their own: the student's stands for it.
        """
        student = self._view("student", self.spec.views.size, inputs)
        if "target0" in inputs:
            return student, *[student for _ in self.teachers]
        own = any(name.startswith(("teacher.boxes", "view.teacher")) for name in inputs)
        known = {} if own else {self.spec.views.size: student}
        for size in self.spec.view_sizes:
            known[size] = known[size] if size in known else self._view("teacher", size, inputs)
        return student, *[known[size] for size in self.spec.teacher_sizes]

    def _view(self, who: str, size: int, inputs: Inputs) -> Tensor:
        spec = replace(self.view_specs[who], size=size)
        if "view.student" in inputs:
            # What is not there was the student's own.
            view = ops.cast(inputs.get(f"view.{who}@{size}", inputs["view.student"]), self.dtype)
            if f"{who}.extra" in inputs:
                view = views.augment(view, inputs[f"{who}.extra"], spec)
        else:
            drawn = who if f"{who}.boxes" in inputs else "student"
            boxes, flips, extra = (inputs[f"{drawn}.{name}"] for name in ("boxes", "flips", "extra"))
            view = views.render(inputs["images"], boxes, flips, extra, spec, self.dtype, self.beyond[who])
        return views.mix(view, inputs["mix"]) if self.mixes else view

    def targets(self, inputs: Inputs) -> list[Tensor]:
        """The teachers' logits where the batch brings them, else nothing."""
        return [inputs[f"target{index}"] for index in range(len(self.teachers)) if f"target{index}" in inputs]

    def teacher_views(self, teacher_views: Sequence[Tensor]) -> list[Tensor]:
        """Each teacher's view in its own input range."""
        return [
            views.normalize(view, teacher.normalize)
            for view, teacher in zip(teacher_views, self.spec.teachers, strict=True)
        ]

    def loss(self, student_bc: Tensor, teachers_bc: Sequence[Tensor], inputs: Inputs) -> Tensor:
        """The batch mean of the distance to the teachers, and of the labels' share if it has weight: a scalar."""
        student_bc, temperature = ops.cast(student_bc, self.dtype), self.spec.loss.temperature
        teachers_bc = [ops.cast(teacher_bc, self.dtype) for teacher_bc in teachers_bc]
        if self.spec.loss.ensemble != "sum_kl" and teachers_bc:
            teachers_bc = [ENSEMBLES[self.spec.loss.ensemble](teachers_bc, temperature)]
        each = [self.distance(student_bc, teacher_bc, temperature) for teacher_bc in teachers_bc]
        if self.spec.loss.task_weight > 0:
            each.append(self.spec.loss.task_weight * self._task_loss(student_bc, inputs))
        return ops.sum(sum(each[1:], each[0])) / student_bc.shape[0]

    def _task_loss(self, student_bc: Tensor, inputs: Inputs) -> Tensor:
        labels = inputs["labels"]
        own = cross_entropy(student_bc, labels)
        if not self.mixes:
            return own
        partner = cross_entropy(student_bc, ops.roll(labels, 1, axis=0))
        return inputs["mix"] * own + (1.0 - inputs["mix"]) * partner

    def scalars(self, inputs: Inputs) -> dict[str, Any]:
        """The optimizer's share of the inputs."""
        return {name.removeprefix("scalar."): value for name, value in inputs.items() if name.startswith("scalar.")}

    def eval_inputs(self, batch: EvalBatch) -> dict[str, np.ndarray]:
        """An evaluation batch as arrays under fixed names."""
        # The views come in float32: what follows, a teacher's own input range for one, is in the run's arithmetic.
        arrays = {"view.student": np.asarray(batch.views, self.dtype)}
        for size, view in zip(self.spec.view_sizes, batch.teacher_views, strict=bool(batch.teacher_views)):
            arrays[f"view.teacher@{size}"] = np.asarray(view, self.dtype)
        return arrays | {"labels": batch.labels.astype(np.int32), "weights": batch.mask}

    def eval_views(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The student's view of an evaluation batch and each teacher's, all of the whole or central image."""
        student = inputs["view.student"]
        return student, *[inputs.get(f"view.teacher@{size}", student) for size in self.spec.teacher_sizes]

    def eval_sums(self, student_bc: Tensor, teachers_bc: Sequence[Tensor], inputs: Inputs) -> dict[str, Tensor]:
        """Sums over one evaluation batch; several teachers count as the one that the ensemble makes of them."""
        weights, labels = ops.cast(inputs["weights"], self.dtype), inputs["labels"]
        teachers_bc = [ops.cast(teacher_bc, self.dtype) for teacher_bc in teachers_bc]
        teacher_bc = ENSEMBLES[self.spec.loss.ensemble](teachers_bc, 1.0) if teachers_bc else None
        sums = evaluation.batch_sums(ops.cast(student_bc, self.dtype), teacher_bc, labels, weights)
        for index, own_bc in enumerate(teachers_bc if len(teachers_bc) > 1 else ()):
            own = evaluation.model_sums(own_bc, labels, weights)
            sums |= {f"teacher{index}.{name}": value for name, value in own.items()}
        return sums


def mode(model: Any, training: bool) -> dict[str, bool]:
    """The `training` argument for models whose `call` takes one, else nothing."""
    known = inspect.signature(model.call).parameters
    takes = "training" in known or any(each.kind is each.VAR_KEYWORD for each in known.values())
    return {"training": training} if takes else {}


def _named_draws(who: str, draws: ViewDraws) -> dict[str, np.ndarray]:
    return {f"{who}.boxes": draws.boxes, f"{who}.flips": draws.flips, f"{who}.extra": draws.extra}

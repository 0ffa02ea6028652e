"""The numerics of a distillation, written once: inputs, views, loss, evaluation. A trainer adds autodiff and jit.

Shapes: B batch, H and W canvas, S view, C classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from keras import ops

from framework import evaluation, optimizers, views
from framework.errors import UserError
from framework.inputs import Inputs, all_views, draws_of, of_draws, of_teachers, teachers_of
from framework.losses import ENSEMBLES, bound, soft_cross_entropy
from framework.models.frozen import is_frozen
from framework.models.initial import parameters
from framework.optimizers.base import decays
from framework.protocols import Batch, EvalBatch
from framework.spec import GIVEN, DistillSpec, ViewsSpec, schedules
from framework.spec.named import find
from framework.spec.teachings import CONSTANT, RESIZED_FIRST
from framework.world import World, check_parts, in_turn, micro_batches

Tensor = Any


class Task:
    """A spec with its models: all that a backend compiles.

    Args:
        spec: the distillation.
        student: a built Keras model, [B, S, S, 3] to logits [B, C].
        teachers: built Keras models of the same signature, one for each of `spec.teachers`.
        total_steps: length of the schedule.
        grad_accum_steps: parts of a batch whose gradients are added up before one update; the update is the same.
        world: the processes and devices that share a batch.
        equal: whether all devices must have as many examples, since they do the same program.

    Raises:
        UserError: another number of teachers; a batch that can't be parted, or a student for whom it would matter, or
            one that was a teacher before.
    """

    def __init__(
        self,
        spec: DistillSpec,
        student: Any,
        teachers: Sequence[Any],
        total_steps: int,
        grad_accum_steps: int = 1,
        world: World = World(),  # noqa: B008 - frozen
        equal: bool = False,
    ) -> None:
        if len(teachers) != len(spec.teachers):
            raise UserError(f"the spec has {len(spec.teachers)} teachers, received {len(teachers)} models")
        if is_frozen(student):
            raise UserError("the student was a teacher here, whose kernels are frozen: build it anew to train it")
        self.spec, self.student, self.teachers = spec, student, tuple(teachers)
        # Somebody else's objects, which stay as they are.
        self.handed_over = [model for each, model in zip(spec.teachers, teachers, strict=True) if each.name == GIVEN]
        self.total_steps, self.world = total_steps, world
        self.grad_accum_steps = in_turn(spec.batch_size, spec.batch_norm_size, grad_accum_steps, world)
        self.parts = self.grad_accum_steps * world.size * world.devices
        check_parts(spec.batch_size, self.grad_accum_steps, student, world, equal, spec.batch_norm_size)
        self.dtype = "float64" if spec.precision == "float64" else "float32"
        teaching = spec.scheme
        self.mixes, self.averaged = teaching.mixup > 0, teaching.averaged
        # Nothing is added to a view that is always the same.
        plain = replace(spec.views, augmentations=())
        self.view_specs = {who: plain if crop in CONSTANT else spec.views for who, crop in teaching.crops.items()}
        self.beyond = {who: crop in RESIZED_FIRST for who, crop in teaching.crops.items()}
        self.optimizer = optimizers.make(spec.optimizer)
        self.schedule = schedules.make(spec.schedule, total_steps)
        self.distance = bound(spec.loss)
        for name in spec.views.augmentations:
            find(name, views.AUGMENTATIONS, "views.augmentations")

    @cached_property
    def names(self) -> tuple[list[str], list[str]]:
        """Names of the student's trainable variables and of the others, in Keras's order."""
        by_variable = {id(variable): name for name, variable in parameters(self.student).items()}
        trainable, others = self.student.trainable_variables, self.student.non_trainable_variables
        return [by_variable[id(v)] for v in trainable], [by_variable[id(v)] for v in others]

    @cached_property
    def statistics(self) -> list[int]:
        """Which of the others are statistics of a batch that has several parts: all that aren't counters."""
        others = self.student.non_trainable_variables if self.parts > 1 else []
        return [place for place, variable in enumerate(others) if "float" in str(variable.dtype)]

    @cached_property
    def _views_at(self) -> dict[tuple[str, int], ViewsSpec]:
        """The views of each, at each size: made once, since a spec is checked when it is made."""
        sizes = {"student": (self.spec.views.size,), "teacher": self.spec.view_sizes}
        return {(who, size): replace(spec, size=size) for who, spec in self.view_specs.items() for size in sizes[who]}

    @property
    def norms_whole(self) -> bool:
        """Whether several devices make those statistics together."""
        return bool(self.statistics) and self.spec.batch_norm_size in (None, self.spec.batch_size)

    @cached_property
    def decayed(self) -> list[bool]:
        """For each trainable variable, whether weight decay applies."""
        variables = zip(self.names[0], self.student.trainable_variables, strict=True)
        return [decays(name, len(variable.shape)) for name, variable in variables]

    def micro_batches(self, batch: Batch) -> list[dict[str, np.ndarray]]:
        """The inputs of this process's parts of a batch, device by device; raises as `inputs` does."""
        if self.parts == 1:
            return [self.inputs(batch)]
        # Of several processes each has a slice of it.
        whole = batch.size if self.world.size == 1 else self.spec.batch_size
        sizes = self.world.sizes(whole, self.grad_accum_steps)
        equal = whole % self.parts == 0
        shares = [{} if equal else {"share": self._number(size * self.parts / whole)} for size in sizes]
        parts = micro_batches(batch, sizes, boundary=self.mixes)
        return [self.inputs(part) | share for part, share in zip(parts, shares, strict=True)]

    def _number(self, value: float) -> np.ndarray:
        return np.asarray(value, self.dtype)

    def inputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """What student and teachers take of a batch, as arrays under fixed names; of a part, its boundary included.

        Raises:
            ValueError: there is nothing in the batch to see, or its targets are missing.
        """
        if self.averaged and batch.targets is None:
            raise ValueError(f"teaching = {self.spec.teaching!r}: a batch carries its targets")
        arrays = self._of_targets(batch.targets or ())
        if batch.labels is not None and self.spec.loss.task_weight > 0:
            arrays["labels"] = batch.labels.astype(np.int32)
        # Its first example is only there to be mixed with the second.
        mark = {"bounded": self._number(0.0)} if batch.bounded else {}
        return arrays | self.shown(batch) | mark

    def scalars(self, step: int) -> dict[str, np.ndarray]:
        """The optimizer's numbers for the update after `step` of them: the schedule's factor, the bias corrections."""
        values = self.optimizer.scalars(step, self.schedule)
        return {name: self._number(value) for name, value in values.items()}

    def shown(self, batch: Batch) -> dict[str, np.ndarray]:
        """What `views` takes of a batch, as arrays under fixed names."""
        return self._rendered(batch) if batch.views is not None else self._canvases(batch)

    def _rendered(self, batch: Batch) -> dict[str, np.ndarray]:
        assert batch.views is not None
        student, *others = batch.views
        if self.teachers and len(others) != len(self.teachers):
            raise ValueError(f"a batch has {len(others)} teachers' views for {len(self.teachers)} teachers")
        arrays = {"view.student": student, "mix": self._number(batch.mix)}
        arrays |= of_teachers("view.teacher", others, student)
        if batch.draws is not None and self.spec.views.augmentations:
            pairs = (("student", batch.draws.student), ("teacher", batch.draws.teacher))
            arrays |= {name: array for who, each in pairs for name, array in of_draws(who, each, ["extra"]).items()}
        return arrays

    def _canvases(self, batch: Batch) -> dict[str, np.ndarray]:
        if batch.images is None or batch.draws is None:
            raise ValueError("a batch carries images with draws, or views")
        draws = batch.draws
        arrays = {"images": batch.images, "mix": self._number(draws.mix)} | of_draws("student", draws.student)
        return arrays if draws.shared else arrays | of_draws("teacher", draws.teacher)

    def _of_targets(self, targets: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return of_teachers("target", [target.astype(self.dtype) for target in targets])

    def views(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The student's view and each teacher's, mixed: [B, S, S, 3] in [-1, 1]; one object where they are the same.

        Where the targets are given, the teachers have no view of their own: the student's stands for it.
        """
        rendered = "view.student" in inputs
        student = self._given("student", inputs["view.student"], inputs) if rendered else self._cut("student", inputs)
        if self.targets(inputs):
            return student, *[student for _ in self.teachers]
        return student, *(self._all_given(inputs, student) if rendered else self._all_cut(inputs, student))

    def _all_given(self, inputs: Inputs, student: Tensor) -> list[Tensor]:
        """The teachers' views where the batch brings them; what is not there was the student's own."""
        sent = teachers_of("view.teacher", inputs)
        views = {id(view): self._given("teacher", view, inputs) for view in sent.values()}
        return [views[id(sent[place])] if place in sent else student for place in range(len(self.teachers))]

    def _given(self, who: str, view: Tensor, inputs: Inputs) -> Tensor:
        view, draws = views.given(view, self.dtype), draws_of(who, inputs)
        return self._mixed(views.augment(view, draws["extra"], self.view_specs[who]) if draws else view, inputs)

    def _all_cut(self, inputs: Inputs, student: Tensor) -> list[Tensor]:
        """The teachers' views, one for each size; by the student's draws where there are no others."""
        known = {} if draws_of("teacher", inputs) else {self.spec.views.size: student}
        for size in self.spec.view_sizes:
            known[size] = known[size] if size in known else self._cut("teacher", inputs, size)
        return [known[size] for size in self.spec.teacher_sizes]

    def _cut(self, who: str, inputs: Inputs, size: int | None = None) -> Tensor:
        draws = draws_of(who, inputs) or draws_of("student", inputs)
        spec = self._views_at[who, size or self.spec.views.size]
        view = views.render(inputs["images"], **draws, spec=spec, dtype=self.dtype, beyond=self.beyond[who])
        return self._mixed(view, inputs)

    def _mixed(self, values: Tensor, inputs: Inputs) -> Tensor:
        return views.mix(values, inputs["mix"], "bounded" in inputs) if self.mixes else values

    def targets(self, inputs: Inputs) -> list[Tensor]:
        """The teachers' logits where the batch brings them, else nothing."""
        return list(teachers_of("target", inputs).values())

    def teacher_views(self, teacher_views: Sequence[Tensor]) -> list[Tensor]:
        """Each teacher's view in its own input range."""
        return [
            views.normalize(view, teacher.normalize)
            for view, teacher in zip(teacher_views, self.spec.teachers, strict=True)
        ]

    def seen(self, views: Sequence[Tensor], teachers_bc: Sequence[Tensor], inputs: Inputs) -> dict[str, Tensor]:
        """All that a student learns from, whichever it is: its view, the teachers' logits, labels and mixing factor."""
        kept = {name: inputs[name] for name in ("labels", "mix", "bounded", "share") if name in inputs}
        return kept | {"view": views[0]} | of_teachers("teacher", teachers_bc)

    def taught(self, seen: Inputs) -> list[Tensor]:
        """The teachers' logits of what was seen."""
        return list(teachers_of("teacher", seen).values())

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
        # Keras's `one_hot` looks at the labels on the host.
        classes = ops.cast(ops.arange(student_bc.shape[-1]), "int32")
        target = ops.cast(inputs["labels"][:, None] == classes[None, :], self.dtype)
        return soft_cross_entropy(student_bc, self._mixed(target, inputs))

    def eval_inputs(self, batch: EvalBatch) -> dict[str, np.ndarray]:
        """An evaluation batch as arrays under fixed names."""
        # The views come in float32: what follows, a teacher's own input range for one, is in the run's arithmetic.
        student, *others = all_views(batch, self.spec)
        arrays = {"view.student": student, **of_teachers("view.teacher", others, student)}
        arrays = {name: np.asarray(view, self.dtype) for name, view in arrays.items()} | self._of_targets(batch.targets)
        return arrays | {"labels": batch.labels.astype(np.int32), "weights": batch.mask}

    def eval_views(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The student's view of an evaluation batch and each teacher's, all of the whole or central image."""
        student, sent = inputs["view.student"], teachers_of("view.teacher", inputs)
        return student, *[sent.get(place, student) for place in range(len(self.teachers))]

    def eval_sums(self, student_bc: Tensor, teachers_bc: Sequence[Tensor], inputs: Inputs) -> dict[str, Tensor]:
        """Sums over one evaluation batch; several teachers count as the one that the ensemble makes of them."""
        weights, labels = ops.cast(inputs["weights"], self.dtype), inputs["labels"]
        student_bc, teacher_bc = self._compared(student_bc, teachers_bc)
        sums = evaluation.batch_sums(student_bc, teacher_bc, labels, weights)
        for index, own_bc in enumerate(teachers_bc if len(teachers_bc) > 1 else ()):
            own = evaluation.model_sums(ops.cast(own_bc, self.dtype), labels, weights)
            sums |= {f"teacher{index}.{name}": value for name, value in own.items()}
        return sums

    def eval_answers(self, student_bc: Tensor, teachers_bc: Sequence[Tensor]) -> dict[str, Tensor]:
        """What student and teachers say of each example of an evaluation batch, as `framework.evaluation.answers`."""
        return evaluation.answers(*self._compared(student_bc, teachers_bc))

    def _compared(self, student_bc: Tensor, teachers_bc: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """The student's logits, and those of the one teacher that the ensemble makes of several."""
        teachers_bc = [ops.cast(teacher_bc, self.dtype) for teacher_bc in teachers_bc]
        teacher_bc = ENSEMBLES[self.spec.loss.ensemble](teachers_bc, 1.0) if teachers_bc else None
        return ops.cast(student_bc, self.dtype), teacher_bc


def mode(model: Any, training: bool) -> dict[str, bool]:
    """The `training` argument for models whose `call` takes one, else nothing."""
    known = inspect.signature(model.call).parameters
    takes = "training" in known or any(each.kind is each.VAR_KEYWORD for each in known.values())
    return {"training": training} if takes else {}

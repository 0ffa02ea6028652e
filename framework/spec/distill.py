"""A distillation as a value: `DistillSpec` says all that determines the student, and nothing else.

Everything is checked once, when the spec is made; everything after may rely on it. `spec.fingerprint` names the result:
two runs of one fingerprint, on whatever backend, are runs of the same experiment.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from framework.errors import UserError
from framework.spec.inputs import DataSpec, ViewsSpec
from framework.spec.models import ModelSpec, TeacherSpec
from framework.spec.renamed import current
from framework.spec.teachings import CONSTANT, Teaching, canonical, resolve
from framework.spec.training import DurationSpec, EvaluationSpec, LossSpec, OptimizerSpec, ScheduleSpec
from framework.spec.validation import build, check, plain

Precision = Literal["float32", "float64", "bfloat16", "mixed_bfloat16"]
# Keys that came later: at these values they are left out of the hash, so that older fingerprints stay what they were.
_LATER: dict[str, dict[str, Any]] = {
    "views": {"teacher_size": None, "resize": None, "target_crops": 1000},
    "loss": {"ensemble": "sum_kl", "options": {}, "label_smoothing": 0.0},
    "data": {"train_from": None},
    "schedule": {"extensions": []},
}


@dataclass(frozen=True, kw_only=True)
class DistillSpec:
    """A complete distillation.

    Attributes:
        data: where the examples come from.
        student: the model that learns.
        teachers: the models that teach; none for training on labels alone. `teacher=` and `teacher.KEY=` set the only
            one; several are written `teachers=['NAME',{'name':'bit','weights':'PATH'}]`.
        teaching: which views teacher and student see: `funmatch` (function matching: one view, mixed), `consistent`
            (one view), `independent` (a view each), `fixed` (the teacher always sees the whole image, the student crops
            of it), `labels` (no teacher); or the paper's set-ups `fix/rs`, `fix/cc`, `fix/ic_ens`, `ind/rc`, `ind/ic`,
            `same/rc`, `same/ic`, `same/ic,mix`. `funmatch` is `same/ic,mix`, `consistent` is `same/ic`, `independent`
            is `ind/ic`; `fixed` has the teacher's view of `fix/rs` and the student's of `fix/ic_ens`.
        views: how the views are cut and mixed.
        loss: what the student minimises.
        optimizer: how it is updated.
        schedule: the learning rate's course.
        duration: how long it is trained.
        batch_size: examples in one update, over all devices; 1 to 1048576, and 2 or more where views are mixed.
        batch_norm_size: examples over which a student's BatchNorm takes its statistics. None is the whole batch, on
            however many devices (elsewhere called global, or synchronised); a divisor of `batch_size` computes the
            batch in parts of so many examples (elsewhere called local), and each step keeps the mean of their
            statistics.
        precision: arithmetic of the models. `mixed_bfloat16` keeps the weights in float32.
        seed: of every random number in the run; 0 to 2**63 - 1.
        init_seed: seed of the student's initial weights alone, for other weights on the same views; None is `seed`.
        evaluation: when and how models are measured.
        sources: a hash of the file of each function of your own (`package.module:function`); filled in when it is
            found, not to be set.
    """

    data: DataSpec = field(default_factory=DataSpec)
    student: ModelSpec = field(default_factory=ModelSpec)
    teachers: tuple[TeacherSpec, ...] = (TeacherSpec(),)
    teaching: str = "funmatch"
    views: ViewsSpec = field(default_factory=ViewsSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    duration: DurationSpec = field(default_factory=lambda: DurationSpec(total_steps=5000))
    batch_size: int = 128
    batch_norm_size: int | None = None
    precision: Precision = "float32"
    seed: int = 0
    init_seed: int | None = None
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(1 <= self.batch_size <= 2**20, "batch_size", self.batch_size, "1 to 1048576 examples")
        whole, part = self.batch_size, self.batch_norm_size
        fits = part is None or (0 < part <= whole and whole % part == 0)
        check(fits, "batch_norm_size", part, f"a divisor of batch_size = {whole}, or None")
        check(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2**63 - 1")
        init = self.init_seed
        check(init is None or 0 <= init < 2**63, "init_seed", init, "0 to 2**63 - 1, or None")
        if self.teaching == "labels" and self.teachers:
            raise UserError("teaching=labels takes no teacher: drop teacher=")
        if self.teaching != "labels" and not self.teachers:
            raise UserError(f"teaching = {self.teaching!r} needs a teacher: give teacher=, or take teaching=labels")
        if not self.teachers and self.loss.task_weight == 0:
            raise UserError("teachers = []: without a teacher give the labels a weight, loss.task_weight=1")
        if self.loss.task_weight > 0 and self.data.labels is None:
            raise UserError("loss.task_weight > 0 needs labels, and data.labels is None")
        if self.loss.task_weight > 0 and self.data.train_from is not None:
            raise UserError("loss.task_weight > 0 needs labels, and data.train_from is trained on without its labels")
        if self.scheme.mixup > 0 and self.batch_size == 1:
            raise UserError("batch_size = 1: mixing needs two examples; take a larger batch or teaching=consistent")
        if self.views.augmentations and resolve(self.teaching, None).student_crop in CONSTANT:
            raise UserError(f"teaching = {self.teaching!r} shows images as they are: give no views.augmentations")
        self.views.teacher_sizes(len(self.teachers))
        resize, least = self.evaluation.resize, self.views.size
        check(resize is None or resize >= least, "evaluation.resize", resize, f"views.size = {least} or more, or None")

    @property
    def teacher_sizes(self) -> tuple[int, ...]:
        """The size of each teacher's view, in pixels."""
        return self.views.teacher_sizes(len(self.teachers))

    @property
    def view_sizes(self) -> tuple[int, ...]:
        """The sizes of the teachers' views, each once, in the order of the teachers."""
        return tuple(dict.fromkeys(self.teacher_sizes))

    @property
    def scheme(self) -> Teaching:
        """What the teaching's name means, with `views.mixup` where that says how views are mixed."""
        return resolve(self.teaching, self.views.mixup)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> DistillSpec:
        """Build a spec from plain nested values.

        Raises:
            UserError: for an unknown key at any depth, another type or a value out of range.
        """
        return build(cls, current(value))

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values of which `from_dict` makes an equal spec."""
        return copy.deepcopy(plain(self))

    def replace(self, **changes: Any) -> DistillSpec:
        """A copy with other values, checked again."""
        return dataclasses.replace(self, **changes)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all that determines the result; backend, paths and cadence are not in it."""
        return _digest(self.determining())

    @property
    def fingerprint_no_seed(self) -> str:
        """As `fingerprint` without the seeds: equal for the runs of one mean and spread."""
        seeds = ("seed", "init_seed")
        return _digest({key: value for key, value in self.determining().items() if key not in seeds})

    def determining(self) -> dict[str, Any]:
        """The plain values that the fingerprint is made of: all that determines the result."""
        # Through `from_dict`, so that a spec written in Python with lr=1 is the one that says 1.0 in a file.
        value = DistillSpec.from_dict(self.to_dict()).to_dict()
        value["evaluation"] = {"resize": self.evaluation.resize}
        del value["data"]["on_bad_image"], value["data"]["missing_classes"]
        for key, usual in (("init_seed", self.seed), ("batch_norm_size", self.batch_size)):
            if value[key] in (None, usual):
                del value[key]
        value["teaching"] = canonical(self.teaching)
        value["views"]["teacher_size"] = list(self.teacher_sizes) if {*self.teacher_sizes} - {self.views.size} else None
        if self.loss.distance == "hard" and "label_smoothing" in self.loss.options:
            # Hashed in the place that it had before losses had options.
            value["loss"]["label_smoothing"] = value["loss"]["options"].pop("label_smoothing")
        for part, defaults in _LATER.items():
            value[part] = {k: v for k, v in value[part].items() if k not in defaults or v != defaults[k]}
        # A spec without them is the one that it was before there were such keys.
        without = ((value, "sources"), *((model, "dont_load") for model in (value["student"], *value["teachers"])))
        for part, key in without:
            if not part[key]:
                del part[key]
        value["teachers"] = [_determining(teacher) for teacher in value["teachers"]]
        return value


def _determining(teacher: dict[str, Any]) -> dict[str, Any]:
    """What of a teacher determines the result; where its fingerprint is known, its file's place doesn't."""
    new = {key: value for key, value in teacher.items() if key != "min_accuracy"}
    new = {key: value for key, value in new.items() if key not in ("classes", "precision") or value is not None}
    return new if teacher["fingerprint"] is None else {**new, "weights": None}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

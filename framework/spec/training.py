"""How the student learns: the loss, the update, the schedule, how long, and what is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from framework.errors import UserError
from framework.spec.validation import check, plain

Spacing = Literal["linear", "log"]
Ensemble = Literal["sum_kl", "mean_logits", "mean_probs"]


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What the student minimises: the distance to the teachers, and the labels' share if wanted.

    Attributes:
        distance: between student and teacher: `kl`, `euclidean`, `l2`, `hard`, `logsoftmax_euclidean`, or your own
            function `package.module:function` of (student logits, teacher logits, temperature) that returns [B].
        temperature: T of the softmaxes, more than 0; `kl` carries the factor T².
        task_weight: weight of the cross-entropy against the labels, 0 or more; the paper has none. `teaching=labels`
            sets it to 1.
        ensemble: what several teachers are: `sum_kl` adds up the distances to each (the authors' code), `mean_logits`
            is one teacher with the mean of their logits (the paper), `mean_probs` one with the mean of their softmaxes.
        options: keyword arguments of the distance. `loss.options.label_smoothing=0.1` is for `hard`: the share of the
            target, from 0 to less than 1, that is taken from the teacher's first choice and spread over the other
            classes. Another distance drops them.
    """

    distance: str = "kl"
    temperature: float = 1.0
    task_weight: float = 0.0
    ensemble: Ensemble = "sum_kl"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.temperature > 0, "loss.temperature", self.temperature, "more than 0")
        check(self.task_weight >= 0, "loss.task_weight", self.task_weight, "0 or more")


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """The update: clip, moments, times lr, plus weight_decay * kernel, times the schedule (the authors' chain).

    Attributes:
        name: `adamw` or `sgd` (with momentum `b1`).
        lr: the learning rate at the schedule's peak, more than 0.
        weight_decay: decay of the kernels at each step, 0 or more; multiplied by the schedule but *not* by `lr`, as in
            the authors' code: a decay of 0.05 in other libraries is 0.05 * `lr` here.
        b1: decay of the first moment; 0 <= b1 < 1.
        b2: decay of the second moment; 0 <= b2 < 1.
        epsilon: added to the root of the second moment, more than 0.
        clip_norm: largest global norm of the gradient, more than 0; None never clips.
        moment_dtype: how the first moment is stored; `bfloat16` halves its memory.
    """

    name: str = "adamw"
    lr: float = 3e-3
    weight_decay: float = 1e-4
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = 1.0
    moment_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check(self.lr > 0, "optimizer.lr", self.lr, "more than 0")
        check(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        check(0 <= self.b1 < 1, "optimizer.b1", self.b1, "0 <= b1 < 1")
        check(0 <= self.b2 < 1, "optimizer.b2", self.b2, "0 <= b2 < 1")
        check(self.epsilon > 0, "optimizer.epsilon", self.epsilon, "more than 0")
        norm = self.clip_norm
        check(norm is None or norm > 0, "optimizer.clip_norm", norm, "more than 0, or None")


@dataclass(frozen=True, kw_only=True)
class ExtensionSpec:
    """How a schedule continues in a run that was made longer after it had begun.

    Attributes:
        at: the step from which it counts, 0 or more.
        before: steps that the run had until then, `at` or more.
        how: `restart` is the whole schedule again, warm-up included; `cosine` falls from `level` to 0; `constant` stays
            at `level`.
        level: share of the peak, more than 0 and at most 1.
    """

    at: int
    before: int
    how: Literal["cosine", "constant", "restart"]
    level: float = 1.0

    def __post_init__(self) -> None:
        check(self.at >= 0, "schedule.extensions.at", self.at, "0 or more")
        check(self.before >= self.at, "schedule.extensions.before", self.before, f"at = {self.at} or more")
        check(0 < self.level <= 1, "schedule.extensions.level", self.level, "more than 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """The learning rate's course: a linear warm-up, then what `name` says.

    Attributes:
        name: after the warm-up: `cosine` (to 0), `constant`, or `staircase` (to a tenth after 30, 60 and 90 % of the
            steps).
        warmup_steps: steps of linear warm-up to the peak, 0 or more and fewer than the run has.
        extensions: how it continues where the run was made longer by `resume=` with `extend=`, which fills this in.
    """

    name: str = "cosine"
    warmup_steps: int = 0
    extensions: tuple[ExtensionSpec, ...] = ()

    def __post_init__(self) -> None:
        check(self.warmup_steps >= 0, "schedule.warmup_steps", self.warmup_steps, "0 or more")
        places = [each.at for each in self.extensions]
        check(places == sorted(places), "schedule.extensions", places, "steps in ascending order")


@dataclass(frozen=True, kw_only=True)
class DurationSpec:
    """How long to train: exactly one of the three is set.

    Attributes:
        total_epochs: passes over the training examples, more than 0; fractions are allowed.
        total_steps: updates, 1 or more.
        total_examples: examples seen, repetitions included; 1 or more.
    """

    total_epochs: float | None = None
    total_steps: int | None = None
    total_examples: int | None = None

    def __post_init__(self) -> None:
        given = {key: value for key, value in plain(self).items() if value is not None}
        if len(given) != 1:
            raise UserError(f"duration = {given}: set exactly one of total_epochs, total_steps, total_examples")
        [(key, value)] = given.items()
        check(0 < value <= 1e15, f"duration.{key}", value, "more than 0, and at most 1e15")

    def steps(self, num_examples: int, batch_size: int) -> int:
        """Number of updates, rounded half to even and at least 1, as the authors' code counts."""
        if self.total_steps is not None:
            return self.total_steps
        examples = self.total_examples if self.total_examples is not None else (self.total_epochs or 0) * num_examples
        return max(1, round(examples / batch_size))


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """When and how models are measured.

    Attributes:
        num_times: evaluations over the run, the last at its end; 0 evaluates at the end only.
        splits: what is measured along the way, of `train` (see `train_subset`), `validation` and `test`; the end
            measures all. Look at `test` along the way for a figure alone: whatever is chosen by it (a step, a rate, a
            duration) has seen the answers. The best checkpoint is chosen by validation, whatever is listed.
        spacing: `linear` spreads the evaluations evenly over the steps, `log` over their logarithm: 10, 100, 1000 ...
        train_subset: training examples that are measured as well, without augmentation; 0 for none.
        resize: shorter side in pixels before the central crop of `views.size`, in proportion for teachers of another
            size; None squeezes the whole image, whatever its shape, to the square of the views' size.
        batch_size: examples at a time, 1 or more.
    """

    num_times: int = 10
    splits: tuple[Literal["train", "validation", "test"], ...] = ("validation",)
    spacing: Spacing = "linear"
    train_subset: int = 512
    resize: int | None = None
    batch_size: int = 256

    def __post_init__(self) -> None:
        check(self.num_times >= 0, "evaluation.num_times", self.num_times, "0 or more")
        check(self.train_subset >= 0, "evaluation.train_subset", self.train_subset, "0 or more")
        check(self.resize is None or self.resize > 0, "evaluation.resize", self.resize, "more than 0, or None")
        check(self.batch_size > 0, "evaluation.batch_size", self.batch_size, "more than 0")

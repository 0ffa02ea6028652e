"""The parts of a distillation's spec: data, models, views, loss, optimizer, schedule, duration and evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from framework.errors import UserError
from framework.spec.validation import check, plain

Spacing = Literal["linear", "log"]
Ensemble = Literal["sum_kl", "mean_logits", "mean_probs"]
_LARGEST = 4096
# The name of a model that was handed over as an object.
GIVEN = "given"


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where the examples come from.

    Attributes:
        name: `digits` or `glyphs` (both need no network), a Hugging Face hub id, a folder of images (one folder a
            class), a parquet file or a `save_to_disk` folder.
        config: the configuration (subset) of a hub data set; None where it has only one.
        train: the split to train on; slices are allowed: `train[:90%]` has every class in its share (so has
            `stratified(train)`), `plain(train)[:90%]` is the first part of the files, `train[100:600]` counts rows.
        validation: the split on which the best checkpoint is chosen; slices are allowed; None for none. Where data of
            your own have no such split, a tenth of the training images (of each class) is held out for it.
        test: the split that is measured at the end; slices are allowed; None for none.
        image: the column with the images; None finds it by its type.
        labels: the column with the labels; `auto` finds it by its type; None distils without labels.
        on_bad_image: what to do with an image that cannot be read: `error` ends the run, `skip` takes a readable
            neighbour in its place.
        missing_classes: what to do where a class has no training image: `error` ends the run, `allow` trains without.
        train_from: another data set to train on, named as `name` is, without its labels: out-of-domain images (paper,
            figure 6). `train` is then a split of it; validation, test and the classes stay those of `name`. None trains
            on `name` itself.
    """

    name: str = "glyphs"
    config: str | None = None
    train: str = "train"
    validation: str | None = "validation"
    test: str | None = "test"
    image: str | None = None
    labels: str | None = "auto"
    on_bad_image: Literal["error", "skip"] = "error"
    missing_classes: Literal["error", "allow"] = "error"
    train_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model by name, with its options.

    Attributes:
        name: `convnet`, `bit`, `mobilenet_v3` or `efficientnet_lite`; `keras.applications:NAME`; your own function,
            `package.module:build`, in the working folder or installed; or a `.keras` file.
        options: keyword arguments of the function that builds the model, `student.options.widths=[16,32,64]`. Another
            name drops them.
        weights: initial weights, by name: a stored model's folder; a `.safetensors` or `.npz` file, whoever wrote it,
            or with `backend=torch` a state dict (`.pt`); or the URL of such a file (`#sha256=...` after it is checked);
            None draws them from the seed.
        dont_load: regular expressions, `"['head/.*']"`: parameters whose whole name matches one are not loaded from
            `weights` and keep what the seed drew.
    """

    name: str = "convnet"
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    dont_load: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.dont_load:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(f"dont_load = {pattern!r}: not a regular expression ({error})") from error


@dataclass(frozen=True, kw_only=True)
class TeacherSpec(ModelSpec):
    """A frozen model that teaches.

    Attributes:
        name: a stored teacher (`digits`, `fashion`, `glyphs`), `efficientnet_lite0` (ImageNet, from a package), the
            folder of a run or of a stored model, or a model as for `student.name`.
        normalize: the input range that the teacher expects, applied after mixing: `unit` ([0, 1]), `pixels` ([0, 255]),
            `imagenet` (mean 0, deviation 1), `caffe` (BGR less its mean), `lite` ((pixels - 127) / 128); None is what
            a stored teacher says, else [-1, 1].
        classes: the order of the teacher's outputs, which are matched to the data's by name: `flowers`, `food`,
            `imagenet`, `pet`, `sun`, or a file with one name a line; `data` is the data's own order; None is what a
            stored teacher says, else the data's.
        min_accuracy: refuse to start if the teacher's test accuracy is below this share, 0 to 1; None refuses a teacher
            that is near chance on 50 labelled images or more, 0 takes any.
        precision: arithmetic of the frozen teacher and, except for `mixed_bfloat16`, of its weights; None is the run's
            `precision`. Its agreement with the teacher in the run's precision is measured first.
        fingerprint: what identifies a stored teacher; filled in when it is found, not to be set.
    """

    name: str = "glyphs"
    normalize: Literal["imagenet", "unit", "caffe", "pixels", "lite"] | None = None
    classes: str | None = None
    min_accuracy: float | None = None
    precision: Literal["float32", "bfloat16", "mixed_bfloat16"] | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.min_accuracy
        check(value is None or 0 <= value <= 1, "teacher.min_accuracy", value, "a share from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class ViewsSpec:
    """How views are made: crop, flip, mixing (paper, section 3.1.1).

    Attributes:
        size: height and width in pixels of the student's view, and of the teachers' unless `teacher_size` is given; 1
            to 4096.
        area: smallest and largest share of the image's area that a crop covers; 0 < smallest <= largest <= 1.
        aspect: smallest and largest width / height of a crop; 0 < smallest <= largest.
        flip: mirror half of the views left to right.
        mixup: p of Beta(p, p), from which the mixing factor is drawn, 0 or more; 0 mixes nothing; None is what the
            teaching says: 1 for `funmatch`, else 0.
        truncate: round crops down to whole grey levels, as the authors' code does.
        augmentations: what else is done to a view, in this order: `brightness`, `grayscale`, or your own function
            `package.module:function` of (views, uniforms) that returns views.
        teacher_size: height and width in pixels of the teachers' view, for the same crop, flip and mixing partner: a
            number, or one for each teacher, `[384,224]`; None is `size`.
        resize: side in pixels of the square that `rc` and `cc` crops are cut out of, `size` or more; None is 5/4 of
            `size`, as 160 for 128.
        target_crops: crops over which each target of `fix/ic_ens` is the mean, 1 or more; computed once and kept.
    """

    size: int = 24
    area: tuple[float, float] = (0.05, 1.0)
    aspect: tuple[float, float] = (0.75, 1.33)
    flip: bool = True
    mixup: float | None = None
    truncate: bool = True
    augmentations: tuple[str, ...] = ()
    teacher_size: int | tuple[int, ...] | None = None
    resize: int | None = None
    target_crops: int = 1000

    def __post_init__(self) -> None:
        check(1 <= self.size <= _LARGEST, "views.size", self.size, f"1 to {_LARGEST} pixels")
        for size in self._teacher_sizes():
            check(1 <= size <= _LARGEST, "views.teacher_size", self.teacher_size, f"1 to {_LARGEST} pixels")
        least, side = self.size, self.resize
        check(side is None or least <= side <= 2 * _LARGEST, "views.resize", side, f"views.size = {least} or more")
        check(self.target_crops >= 1, "views.target_crops", self.target_crops, "1 or more")
        check(0 < self.area[0] <= self.area[1] <= 1, "views.area", self.area, "0 < smallest <= largest <= 1")
        check(0 < self.aspect[0] <= self.aspect[1], "views.aspect", self.aspect, "0 < smallest <= largest")
        check(self.mixup is None or self.mixup >= 0, "views.mixup", self.mixup, "0 or more")

    @property
    def square(self) -> int:
        """Side in pixels of the square that mild and central crops are cut out of."""
        return self.resize or round(1.25 * self.size)

    def teacher_sizes(self, count: int) -> tuple[int, ...]:
        """The size of the view of each of `count` teachers, in pixels.

        Raises:
            UserError: the sizes that are listed are another number.
        """
        if isinstance(self.teacher_size, tuple) and len(self.teacher_size) != count:
            listed = list(self.teacher_size)
            raise UserError(f"views.teacher_size = {listed}: expected one number, or one for each of {count} teachers")
        return self._teacher_sizes() if isinstance(self.teacher_size, tuple) else self._teacher_sizes() * count

    def _teacher_sizes(self) -> tuple[int, ...]:
        if isinstance(self.teacher_size, tuple):
            return self.teacher_size
        return (self.size if self.teacher_size is None else self.teacher_size,)


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
            raise UserError(f"duration = {given}: give exactly one of total_epochs, total_steps, total_examples")
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

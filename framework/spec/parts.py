"""The parts of a distillation's spec: data, models, views, loss, optimizer, schedule, duration and evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from framework.errors import UserError
from framework.spec.validation import check, plain

Ensemble = Literal["sum_kl", "mean_logits", "mean_probs"]
_LARGEST = 4096


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where the examples come from.

    Attributes:
        name: `digits`, `glyphs`, a hub id, an image folder, a parquet file or a `save_to_disk` folder.
        config: the hub data set's own configuration (subset), if it has several.
        train, validation, test: names of the splits, slices allowed (`"train[:90%]"`); None for none.
        image: the image column; None finds it by its type.
        labels: the label column; "auto" finds it by its type; None trains without labels.
        on_bad_image: "error", or "skip" to put a good neighbour in its place.
        train_from: another data set to train on, named as `name` is, without its labels: out-of-domain images (paper,
            figure 6). `train` is then a split of it; validation, test and the classes stay those of `name`.
    """

    name: str = "glyphs"
    config: str | None = None
    train: str = "train"
    validation: str | None = "validation"
    test: str | None = "test"
    image: str | None = None
    labels: str | None = "auto"
    on_bad_image: Literal["error", "skip"] = "error"
    train_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model by name, with its options.

    Attributes:
        name: a name of `framework.models.catalog`, an import path `package.module:build`, or a `.keras` file.
        options: keyword arguments of the model's builder, `{"widths": [16, 32, 64]}`.
        weights: initial weights: a stored model's folder, a `.safetensors` or `.npz` file, or the URL of such a file
            (`#sha256=...` behind it is checked); None draws them from the seed.
        dont_load: regular expressions; the parameters whose whole names they match keep what the seed drew.
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
        name: a stored teacher's name or folder, or as in `ModelSpec`.
        normalize: None for views in [-1, 1], or the teacher's own input range, `"imagenet"`; applied after mixing.
        classes: whose order its outputs have: `flowers`, `food`, `imagenet`, `pet`, `sun`, or a file with one name a
            line; they are put into the data's order by name. None is what a stored teacher says; "data" the data's.
        min_accuracy: refuse to start when the teacher's test accuracy in [0, 1] is below this; None never refuses.
        precision: of its arithmetic and, but for `mixed_bfloat16`, its weights; None is the spec's. How well it agrees
            with itself in the spec's is measured before the run.
        fingerprint: what made a stored teacher: filled in when it is found.
    """

    name: str = "glyphs"
    normalize: Literal["imagenet", "unit", "caffe", "pixels"] | None = None
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
    """How views are made: crop, flip, mixing (paper, section 3.1.1; the authors' `inception_crop`).

    Attributes:
        size: height and width in pixels of the student's view, and of the teachers' unless `teacher_size` is given.
        area: smallest and largest share of the image's area that a crop has.
        aspect: smallest and largest width/height of a crop.
        flip: mirror half of the views left to right.
        mixup: p of Beta(p, p) that the mixing factor is drawn from; 0 mixes nothing; None is what the teaching says.
        truncate: round crops down to whole grey levels, as the authors' pipeline does.
        augmentations: names of added augmentations, or import paths `package.module:function`.
        teacher_size: height and width of the teachers' view: a number, or a list with one for each teacher; None is
            `size`. Where they share a view, both are cut by one box, mirrored and mixed alike (paper, section 3.3).
        resize: side in pixels of the square that mild and central crops (`rc`, `cc`) are cut out of, at the student's
            size; None is 5/4 of `size`, as 160 for 128.
        target_crops: number of inception crops over which `fix/ic_ens` takes the mean.
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
        distance: a name of `framework.losses.DISTANCES`, or an import path `package.module:function`.
        temperature: T of the softmaxes; the KL carries the factor T².
        task_weight: weight of the cross-entropy against the labels; 0 in the paper's recipes.
        ensemble: what several teachers are: "sum_kl" adds up the distance to each (the authors' code), "mean_logits" is
            one teacher with the mean of their logits (the paper), "mean_probs" one with the mean of their softmaxes.
        options: keyword arguments of the distance: `label_smoothing` of `hard` is the share of the target, from 0 to
            less than 1, that is taken from the teacher's arg-max and spread over the other classes.
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
    """The update: clip, moments, x lr, + weight_decay * kernel, x schedule (the authors' chain).

    Attributes:
        name: a name of `framework.optimizers.OPTIMIZERS`.
        lr: the learning rate at the schedule's peak.
        weight_decay: decay of kernels; multiplied by the schedule but *not* by lr (timm's 0.05 is 0.05 * lr here).
        b1, b2: decay of the first and second moment.
        epsilon: added outside the root.
        clip_norm: largest global norm of the gradient; None never clips.
        moment_dtype: how the first moment is stored.
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
class ScheduleSpec:
    """The learning rate's course: linear warm-up, then cosine to 0.

    Attributes:
        name: a name of `framework.spec.schedules.SCHEDULES`.
        warmup_steps: steps until the peak.
    """

    name: str = "cosine"
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        check(self.warmup_steps >= 0, "schedule.warmup_steps", self.warmup_steps, "0 or more")


@dataclass(frozen=True, kw_only=True)
class DurationSpec:
    """How long: exactly one of the three is set."""

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
        """Number of updates, rounded half to even and at least 1, as the authors' code counts (REFERENCE: schedule)."""
        if self.total_steps is not None:
            return self.total_steps
        examples = self.total_examples if self.total_examples is not None else (self.total_epochs or 0) * num_examples
        return max(1, round(examples / batch_size))


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """When and how models are measured.

    Attributes:
        num_times: evaluations of validation data spread evenly over the run, the last at its end; 0 for the end only.
        train_subset: number of training examples, without augmentation, that are measured as well.
        resize: shorter side in pixels before the central crop of `views.size`, in proportion for teachers of another
            size; None takes the whole image at the views' size.
        batch_size: examples at a time.
    """

    num_times: int = 10
    train_subset: int = 512
    resize: int | None = None
    batch_size: int = 256

    def __post_init__(self) -> None:
        check(self.num_times >= 0, "evaluation.num_times", self.num_times, "0 or more")
        check(self.train_subset >= 0, "evaluation.train_subset", self.train_subset, "0 or more")
        check(self.resize is None or self.resize > 0, "evaluation.resize", self.resize, "more than 0, or None")
        check(self.batch_size > 0, "evaluation.batch_size", self.batch_size, "more than 0")

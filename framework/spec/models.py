"""Who learns, and who teaches."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from framework.errors import UserError
from framework.spec.validation import check

# The name of a model that was handed over as an object.
GIVEN = "given"


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

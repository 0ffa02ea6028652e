"""Teachings: which views student and teacher see (paper, section 3.1.1 and figure 2), by the paper's names.

| name | teacher sees | student sees |
|---|---|---|
| `fix/rs` | the image resized to a square, for ever | the very same |
| `fix/cc` | the central crop, for ever | a mild random crop |
| `fix/ic_ens` | nothing: its targets are the mean prediction over many inception crops, for ever | an inception crop |
| `ind/rc`, `ind/ic` | a mild random crop, an inception crop | another one of the kind |
| `same/rc`, `same/ic` | a mild random crop, an inception crop | the very same |
| `same/ic,mix` | the student's view: an inception crop, mixed | the very same |

Plain names: `independent` is `ind/ic`, `consistent` is `same/ic` and `funmatch` (function matching) is `same/ic,mix`.
`fixed` is the cheap fixed teacher, between two of the paper's: the teacher sees the view of `fix/rs`, the student the
crops of `fix/ic_ens`. `labels` has no teacher.

Where student and teacher have views of their own, an explicit `views.mixup` mixes both with the one factor of the step,
as the authors' trainer does with all views of a batch.

The paper does not define the mild random crop. Here it is what the authors' code does elsewhere: the image is resized
to a square a quarter larger than the view (160 for 128), of which a window of the view's size is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from framework.errors import UserError, near

Crop = Literal["inception", "mild", "central", "whole"]


@dataclass(frozen=True)
class Teaching:
    """One way to teach.

    Attributes:
        shared: student and teacher see one view.
        student_crop, teacher_crop: how the views are cut: "inception" (any part, any shape), "mild" (most of the
            image), "central" (its middle, always the same) or "whole" (the image as it is, always the same).
        mixup: p of Beta(p, p); 0 mixes nothing, unless `views.mixup` says otherwise.
        averaged: the teachers' targets are means over many crops, made once before the training.
    """

    shared: bool
    student_crop: Crop = "inception"
    teacher_crop: Crop = "inception"
    mixup: float = 0.0
    averaged: bool = False

    @property
    def crops(self) -> dict[str, Crop]:
        """How each one's views are cut, `"student"` and `"teacher"`."""
        return {"student": self.student_crop, "teacher": self.teacher_crop}


TEACHINGS: dict[str, Teaching] = {
    "fixed": Teaching(shared=False, teacher_crop="whole"),
    "independent": Teaching(shared=False),
    "consistent": Teaching(shared=True),
    "funmatch": Teaching(shared=True, mixup=1.0),
    # No teacher: the student's own view and the labels, mixed or not as `views.mixup` says.
    "labels": Teaching(shared=True),
    "fix/rs": Teaching(shared=True, student_crop="whole", teacher_crop="whole"),
    "fix/cc": Teaching(shared=False, student_crop="mild", teacher_crop="central"),
    "fix/ic_ens": Teaching(shared=False, averaged=True),
    "ind/rc": Teaching(shared=False, student_crop="mild", teacher_crop="mild"),
    "same/rc": Teaching(shared=True, student_crop="mild", teacher_crop="mild"),
}
# The paper's names of what has a plain one.
ALIASES = {"ind/ic": "independent", "same/ic": "consistent", "same/ic,mix": "funmatch"}
MIXING = ("funmatch", "labels")
CONSTANT: tuple[Crop, ...] = ("central", "whole")
# Cut out of the resized image, so that pixels beyond the window count; the others are cut first, then resized.
RESIZED_FIRST: tuple[Crop, ...] = ("mild", "central")


def canonical(name: str) -> str:
    """The one name under which a teaching is hashed: `funmatch` for `same/ic,mix`."""
    return ALIASES.get(name, name)


def resolve(name: str, mixup: float | None) -> Teaching:
    """The teaching of a name, with the views' own mixup where it may be chosen.

    Args:
        name: a key of `TEACHINGS` or of `ALIASES`.
        mixup: `views.mixup`; None leaves it to the teaching.

    Raises:
        UserError: for an unknown name, or where the mixup contradicts the teaching.
    """
    known = canonical(name)
    if known not in TEACHINGS:
        raise UserError(f"teaching = {name!r}: {near(name, [*TEACHINGS, *ALIASES])}")
    teaching = TEACHINGS[known]
    if mixup is None:
        return teaching
    if known == "funmatch" and mixup == 0:
        raise UserError(f"teaching = {name!r} mixes its views, but views.mixup = 0: use teaching=consistent")
    if mixup > 0 and teaching.averaged:
        raise UserError(f"teaching = {name!r} has targets for images as they are, but views.mixup = {mixup} mixes them")
    if mixup > 0 and teaching.shared and known not in MIXING:
        raise UserError(f"teaching = {name!r} mixes nothing, but views.mixup = {mixup}: use teaching=funmatch")
    return replace(teaching, mixup=mixup)

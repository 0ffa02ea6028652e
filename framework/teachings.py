"""Teachings: which views student and teacher see (paper, section 3.1.1 and figure 2).

A teaching is a row of one table. `shared` says that both see the very same pixels, `teacher_crop` how the teacher's own
view is cut where they do not, `mixup` which p mixes the shared view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from framework.errors import UserError, near


@dataclass(frozen=True)
class Teaching:
    """One way to teach.

    Attributes:
        shared: student and teacher see one view.
        teacher_crop: "random" (as the student's, of another stream) or "whole" (the image as it is, always the same).
        mixup: p of Beta(p, p); 0 mixes nothing.
    """

    shared: bool
    teacher_crop: Literal["random", "whole"]
    mixup: float


TEACHINGS: dict[str, Teaching] = {
    "fixed": Teaching(shared=False, teacher_crop="whole", mixup=0.0),
    "independent": Teaching(shared=False, teacher_crop="random", mixup=0.0),
    "consistent": Teaching(shared=True, teacher_crop="random", mixup=0.0),
    "funmatch": Teaching(shared=True, teacher_crop="random", mixup=1.0),
    # No teacher: the student's own view and the labels, mixed or not as `views.mixup` says.
    "labels": Teaching(shared=True, teacher_crop="random", mixup=0.0),
}


def resolve(name: str, mixup: float | None) -> Teaching:
    """The teaching of a name, with the views' own mixup where it may be chosen.

    Args:
        name: a key of `TEACHINGS`.
        mixup: `views.mixup`; None leaves it to the teaching.

    Raises:
        UserError: for an unknown name, or where the mixup contradicts the teaching.
    """
    if name not in TEACHINGS:
        raise UserError(f"teaching = {name!r}: {near(name, TEACHINGS)}")
    teaching = TEACHINGS[name]
    if mixup is None:
        return teaching
    if name == "funmatch" and mixup == 0:
        raise UserError("teaching = 'funmatch' mixes its views, and views.mixup = 0: say teaching=consistent")
    if name not in ("funmatch", "labels") and mixup > 0:
        raise UserError(f"teaching = {name!r} mixes nothing, and views.mixup = {mixup}: say teaching=funmatch")
    return replace(teaching, mixup=mixup)

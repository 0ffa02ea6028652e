"""A batch as arrays under fixed names, for which a backend compiles: each kind of name is made and read here alone.

images, mix, labels, weights              one array each
bounded, share                            of a part: that it has a boundary; its examples, over the mean of the parts'
student.boxes, teacher.flips, ...         the draws of a view
view.student                              a view that is rendered already
view.teacher0+2, target1, teacher0        what belongs to teachers, by their places: one that several share is sent once
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from framework.protocols import Array, EvalBatch, ViewDraws
from framework.spec.distill import DistillSpec

Tensor = Any
Inputs = Mapping[str, Any]
_DRAWS = ("boxes", "flips", "extra")


def of_draws(who: str, draws: ViewDraws, names: Iterable[str] = _DRAWS) -> dict[str, Array]:
    """The draws of a view, or some of them; `who` is `student` or `teacher`."""
    return {f"{who}.{name}": getattr(draws, name) for name in names}


def draws_of(who: str, inputs: Inputs) -> dict[str, Tensor]:
    """What `of_draws` sent: `boxes`, `flips`, `extra`; nothing where there were no draws of one's own."""
    return {name: inputs[f"{who}.{name}"] for name in _DRAWS if f"{who}.{name}" in inputs}


def of_teachers(kind: str, arrays: Sequence[Tensor], known: Tensor = None) -> dict[str, Tensor]:
    """An array for each teacher; not those that are `known`, which is sent under another name."""
    places: dict[int, list[int]] = {}
    for place, array in enumerate(arrays):
        if array is not known:
            places.setdefault(id(array), []).append(place)
    return {f"{kind}{'+'.join(map(str, each))}": arrays[each[0]] for each in places.values()}


def teachers_of(kind: str, inputs: Inputs) -> dict[int, Tensor]:
    """What `of_teachers` sent, by the teachers' places in their order."""
    found: dict[int, Tensor] = {}
    for name, array in inputs.items():
        places = name.removeprefix(kind).split("+") if name.startswith(kind) else []
        found |= {int(place): array for place in places if place.isdecimal()}
    return dict(sorted(found.items()))


def all_views(batch: EvalBatch, spec: DistillSpec) -> tuple[Array, ...]:
    """The student's view of an evaluation batch and each teacher's; one object where they are the same."""
    by_size = dict(zip(spec.view_sizes, batch.teacher_views, strict=bool(batch.teacher_views)))
    return batch.views, *(by_size.get(size, batch.views) for size in spec.teacher_sizes)

"""What student and teachers see at some steps, rendered as a step renders it.

In float64 and not rounded to grey levels: backends round to float32 in their own ways (XLA joins a product and a sum
into one operation, for one), so that a view's last bits differ, and a level may then be another one. A float64 view
that is rounded to float32 is the same on all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backends.base import Backend
from framework.data.loader import Loader
from framework.draws.views import draws_hash
from framework.protocols import Array, Draws, Source, Trainer
from framework.spec import DistillSpec, ModelSpec

# Views don't depend on what sees them: the smallest net there is.
_ANY = ModelSpec(name="convnet", options={"widths": [1]})


@dataclass(frozen=True)
class Step:
    """What was seen at one step; B examples, V views of each: the student's first, then each teacher's.

    Attributes:
        number: updates done before.
        ids, epochs: int64 [B].
        draws: all that was random.
        views: float32 [B, S, S, 3] in [-1, 1], mixed; no teacher's where they see no views of a step.
    """

    number: int
    ids: Array
    epochs: Array
    draws: Draws
    views: tuple[Array, ...]

    @property
    def draws_hash(self) -> str:
        """16 hexadecimal digits over all draws."""
        return draws_hash(self.draws)

    def partner(self, place: int) -> int:
        """The place in the batch of the example that one is mixed with: the one before, of the first the last."""
        return (place - 1) % len(self.ids)

    def same(self, teacher: int) -> Array | None:
        """Whether a teacher sees the student's pixels, bool [B] by example; None where its views have another size."""
        student, other = self.views[0], self.views[1 + teacher]
        return (student == other).all((1, 2, 3)) if student.shape == other.shape else None

    def digests(self) -> list[list[str]]:
        """The SHA-256 of each view's float32 numbers (little-endian, [S, S, 3]) in hexadecimal digits: V lists of B."""
        return [[digest(view) for view in views] for views in self.views]


def digest(view: Array) -> str:
    """The SHA-256 of one view; a zero has one sign."""
    return hashlib.sha256((np.ascontiguousarray(view, "<f4") + np.float32(0)).tobytes()).hexdigest()


def look(spec: DistillSpec, source: Source, backend: Backend, steps: Sequence[int]) -> Iterator[Step]:
    """What is seen at some steps.

    Args:
        spec: the distillation, in the precision that the backend is configured for.
        source: the training split.
        backend: configured; it computes on the CPU.
        steps: their numbers.
    """
    teaching = spec.scheme
    spec = replace(spec, views=replace(spec.views, truncate=False))
    loader, trainer = Loader(spec, source, max(steps) + 1), _trainer(spec, backend, max(steps) + 2)
    for number in steps:
        ids, draws = loader.drawn(number)
        seen = [np.asarray(view, np.float32) for view in trainer.look(loader.shown(source.images(ids), draws))]
        _, epochs = loader.order.batch(number)
        yield Step(number, ids, epochs, draws, tuple(seen[:1] if teaching.averaged else seen))


def _trainer(spec: DistillSpec, backend: Backend, total_steps: int) -> Trainer:
    # It imports Keras, which the configured backend comes before.
    from framework.models import catalog

    sizes = (spec.views.size, *spec.teacher_sizes)
    student, *teachers = (catalog.build(_ANY.name, _ANY.options, 2, size, None) for size in sizes)
    total_steps = max(total_steps, spec.schedule.warmup_steps + 1)
    return backend.compile(spec, student, teachers, total_steps=total_steps)


def expected(spec: DistillSpec) -> bool | None:
    """Whether the teaching wants the same pixels for both; None where the teachers see no view of a step."""
    teaching = spec.scheme
    return None if teaching.averaged or not spec.teachers else teaching.shared


def verdict(spec: DistillSpec, step: Step) -> tuple[bool, str]:
    """Whether a step's views are what the teaching promises, and that in words."""
    wanted = expected(spec)
    if wanted is None:
        crops = f"the teachers' targets are means over {spec.views.target_crops} other crops"
        return True, crops if spec.teachers else "there is no teacher"
    found = [same for place in range(len(step.views) - 1) if (same := step.same(place)) is not None]
    if not found:
        return True, "the teachers see other sizes" + (" of the same crops" if step.draws.shared else "")
    count, total = min(int(same.sum()) for same in found), len(step.ids)
    fine = count == total if wanted else count < total
    told = f"the same pixels in {count} of {total} pairs"
    return fine, told if fine else f"{told}, which is not what teaching={spec.teaching} means"

"""Parts of a batch whose gradients are added up: with equal parts the mean of their means is the whole batch's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from framework.draws.views import some
from framework.errors import UserError
from framework.protocols import Array, Batch


def check_micro_batches(batch_size: int, parts: int, student: Any) -> None:
    """Refuse parts that would not give the whole batch's update.

    Args:
        batch_size: examples in one update.
        parts: of a batch, 2 or more.
        student: the Keras model.

    Raises:
        UserError: parts of unequal size; or a student with state besides its parameters.
    """
    if batch_size % parts:
        fitting = [str(number) for number in range(1, batch_size + 1) if batch_size % number == 0]
        raise UserError(f"grad_accum_steps = {parts}: allowed are divisors of batch_size: {', '.join(fitting)}")
    state = [variable.path for variable in student.non_trainable_variables]
    if state:
        raise UserError(
            f"grad_accum_steps = {parts}: the student has state ({state[0]}), as BatchNorm and dropout do, which parts "
            "of a batch would change differently from the whole batch; allowed is 1"
        )


def micro_batches(batch: Batch, parts: int, boundary: bool) -> list[Batch]:
    """Cut a batch into equal parts, in order.

    Args:
        batch: of a size that is a multiple of `parts`.
        parts: how many.
        boundary: put the example before its first one in front of each part (the last of the batch in front of the
            first part): the partner that it is mixed with.
    """
    size = next(len(each) for each in (batch.images, *(batch.views or ())) if each is not None)
    count = size // parts
    ids = [np.arange(start - boundary, start + count) for start in range(0, size, count)]
    return [_taken(batch, each % size, each[boundary:]) for each in ids]


def _taken(batch: Batch, ids: Array, own: Array) -> Batch:
    """Examples of a batch; `own` are those without the boundary."""
    # What was one array for student and teacher stays one.
    views = {id(view): view[ids] for view in batch.views or ()}
    return replace(
        batch,
        images=None if batch.images is None else batch.images[ids],
        draws=None if batch.draws is None else some(batch.draws, ids),
        views=None if batch.views is None else tuple(views[id(view)] for view in batch.views),
        labels=None if batch.labels is None else batch.labels[ids],
        targets=None if batch.targets is None else tuple(target[own] for target in batch.targets),
    )

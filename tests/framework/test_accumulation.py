"""Parts of a batch: each example once, and in front of each part the partner of its first one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from framework.accumulation import check_micro_batches, micro_batches
from framework.errors import UserError
from framework.protocols import Batch, Draws, ViewDraws


def drawn(shift: float) -> ViewDraws:
    numbers = np.arange(6, dtype=np.float32) + np.float32(shift)
    return ViewDraws(np.tile(numbers[:, None], (1, 4)), numbers, numbers[:, None, None])


@pytest.mark.parametrize("boundary", [False, True])
def test_each_part_has_its_examples_in_order(boundary: bool) -> None:
    images, labels = np.arange(6, dtype=np.uint8)[:, None, None, None], np.arange(6)
    batch = Batch(images, Draws(drawn(0), drawn(0.5), 0.7), labels=labels, targets=(labels[:, None] * 1.0,))
    parts = micro_batches(batch, 3, boundary)
    expected = [[5, 0, 1], [1, 2, 3], [3, 4, 5]] if boundary else [[0, 1], [2, 3], [4, 5]]
    for part, ids in zip(parts, expected, strict=True):
        assert part.images is not None
        assert part.draws is not None
        assert part.labels is not None
        assert part.targets is not None
        assert part.images.ravel().tolist() == part.labels.tolist() == part.draws.student.flips.tolist() == ids
        assert part.draws.teacher.boxes[:, 2].tolist() == [number + 0.5 for number in ids]
        assert part.draws.student.extra.ravel().tolist() == ids
        assert part.draws.mix == 0.7
        # A target is the example's own: nobody is mixed with the boundary's.
        assert part.targets[0].ravel().tolist() == ids[boundary:]


def test_a_shared_view_stays_shared() -> None:
    view, other, draws = np.arange(4.0)[:, None], np.arange(4.0, 8.0)[:, None], drawn(0)
    for part in micro_batches(
        Batch(views=(view, other, view), draws=Draws(draws, draws, 0.5), mix=0.5), 2, boundary=True
    ):
        assert part.views is not None
        assert part.draws is not None
        assert part.views[0] is part.views[2] is not part.views[1]
        assert part.draws.shared
        np.testing.assert_array_equal(part.views[0] + 4, part.views[1])


def test_what_would_change_the_update_is_refused() -> None:
    plain = SimpleNamespace(non_trainable_variables=[])
    check_micro_batches(6, 3, plain)
    with pytest.raises(UserError, match=r"grad_accum_steps = 4: allowed are divisors of batch_size: 1, 2, 3, 6"):
        check_micro_batches(6, 4, plain)
    with pytest.raises(UserError, match=r"the student has state \(bn/moving_mean\)"):
        check_micro_batches(6, 3, SimpleNamespace(non_trainable_variables=[SimpleNamespace(path="bn/moving_mean")]))

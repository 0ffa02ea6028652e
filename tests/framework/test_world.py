"""Parts of a batch: each example once, and in front of each part the partner of its first one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from framework.errors import UserError
from framework.protocols import Batch, Draws, ViewDraws
from framework.world import World, check_parts, in_turn, micro_batches


def drawn(shift: float) -> ViewDraws:
    numbers = np.arange(6, dtype=np.float32) + np.float32(shift)
    return ViewDraws(np.tile(numbers[:, None], (1, 4)), numbers, numbers[:, None, None])


@pytest.mark.parametrize("boundary", [False, True])
def test_each_part_has_its_examples_in_order(boundary: bool) -> None:
    images, labels = np.arange(6, dtype=np.uint8)[:, None, None, None], np.arange(6)
    batch = Batch(images, Draws(drawn(0), drawn(0.5), 0.7), labels=labels, targets=(labels[:, None] * 1.0,))
    parts = micro_batches(batch, [2, 2, 2], boundary)
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
        Batch(views=(view, other, view), draws=Draws(draws, draws, 0.5), mix=0.5), [2, 2], boundary=True
    ):
        assert part.views is not None
        assert part.draws is not None
        assert part.views[0] is part.views[2] is not part.views[1]
        assert part.draws.shared
        np.testing.assert_array_equal(part.views[0] + 4, part.views[1])


@pytest.mark.parametrize("boundary", [False, True])
@pytest.mark.parametrize("world", [World(size=3), World(size=2, devices=2), World(size=4)])
def test_the_parts_of_all_processes_are_the_batch(world: World, boundary: bool) -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None, None]
    own, before = [], []
    for rank in range(world.size):
        here = replace(world, rank=rank)
        places = here.places(10, boundary)
        assert places is not None
        batch = Batch(images[places], labels=places, targets=(places[boundary:, None],), bounded=boundary)
        for part in micro_batches(batch, here.sizes(10, 2), boundary):
            assert part.images is not None
            assert part.targets is not None
            shown = part.images.ravel().tolist()
            assert part.bounded == boundary
            assert part.targets[0].ravel().tolist() == shown[boundary:]
            own += shown[boundary:]
            before += [shown[0]] * boundary
    assert own == list(range(10))
    firsts = [place * 10 // (2 * world.size * world.devices) for place in range(2 * world.size * world.devices)]
    assert before == ([(first - 1) % 10 for first in firsts] if boundary else [])


def test_what_would_change_the_update_is_refused() -> None:
    plain, alone = SimpleNamespace(non_trainable_variables=[]), World()
    check_parts(6, 3, plain, alone, equal=True)
    check_parts(7, 1, plain, World(size=3), equal=False)
    with pytest.raises(UserError, match=r"grad_accum_steps = 4: allowed are divisors of batch_size: 1, 2, 3, 6"):
        check_parts(6, 4, plain, alone, equal=False)
    with pytest.raises(UserError, match=r"batch_size = 10 on 4 devices: .* multiples of 4, such as 8 or 12"):
        check_parts(10, 1, plain, World(size=2, devices=2), equal=True)
    with pytest.raises(UserError, match=r"batch_size = 3 on 4 devices: there is no example for some of them"):
        check_parts(3, 1, plain, World(size=4), equal=False)


def stateful(path: str, sums: bool = False) -> SimpleNamespace:
    state = [SimpleNamespace(path=path)]
    layer = SimpleNamespace(non_trainable_variables=state, sums_over_devices=sums)
    return SimpleNamespace(non_trainable_variables=state, _flatten_layers=lambda: [layer])


def test_what_a_student_keeps_of_a_batch_needs_all_of_it_or_a_size() -> None:
    foreign, alone, two = stateful("bn/moving_mean"), World(), World(size=2)
    check_parts(6, 1, foreign, alone, equal=True)
    for parts, world in ((3, alone), (1, two)):
        with pytest.raises(UserError, match=r"statistics of a batch \(bn/moving_mean\).* batch_norm_size=3"):
            check_parts(6, parts, foreign, world, equal=False)
        check_parts(6, parts, foreign, world, equal=False, norm_size=2)
    check_parts(6, 1, stateful("bn/moving_mean", sums=True), two, equal=False)
    with pytest.raises(UserError, match="statistics"):
        check_parts(6, 2, stateful("bn/moving_mean", sums=True), two, equal=False)
    with pytest.raises(UserError, match="draws numbers of its own"):
        check_parts(6, 1, stateful("dropout/seed_generator/seed_generator_state"), two, equal=False, norm_size=3)


def test_a_norms_size_says_how_many_parts_a_device_takes() -> None:
    assert in_turn(24, None, 2, World(size=2)) == in_turn(24, 24, 2, World()) == 2
    assert in_turn(24, 6, 1, World()) == in_turn(24, 6, 4, World()) == 4
    assert in_turn(24, 6, 1, World(size=2)) == 2
    assert in_turn(24, 6, 1, World(size=2, devices=2)) == 1
    with pytest.raises(UserError, match=r"batch_norm_size = 6: 4 parts .* on 3 devices, not 1, 2, 4"):
        in_turn(24, 6, 1, World(size=3))
    with pytest.raises(UserError, match=r"grad_accum_steps = 2: batch_norm_size = 6 makes it 4"):
        in_turn(24, 6, 2, World())

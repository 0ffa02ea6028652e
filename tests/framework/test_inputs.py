"""What is written into a batch's names is read out of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.inputs import draws_of, of_draws, of_teachers, teachers_of
from framework.protocols import ViewDraws

DRAWS = ViewDraws(boxes=np.zeros((2, 4)), flips=np.ones(2), extra=np.zeros((2, 0, 8)))


@given(st.lists(st.integers(0, 3), max_size=12))
def test_each_teacher_reads_what_was_sent_for_it(chosen: list[int]) -> None:
    arrays = [np.full(2, number) for number in range(4)]
    sent = of_teachers("view.teacher", [arrays[number] for number in chosen], known=arrays[3])
    assert len(sent) == len({*chosen} - {3})
    others = {"view.student": arrays[3], "teacher.boxes": arrays[3], "teacher0": arrays[3]}
    found = teachers_of("view.teacher", others | sent)
    assert list(found) == [place for place, number in enumerate(chosen) if number != 3]
    assert all(found[place] is arrays[chosen[place]] for place in found)


def test_teachers_come_in_their_order() -> None:
    sent = of_teachers("target", [np.full(1, number) for number in range(12)])
    shuffled = dict(sorted(sent.items()))
    assert list(shuffled) != list(sent)
    assert [int(array[0]) for array in teachers_of("target", shuffled).values()] == list(range(12))


@pytest.mark.parametrize("names", [("boxes", "flips", "extra"), ("extra",)])
def test_draws_are_read_under_the_name_of_whose_they_are(names: tuple[str, ...]) -> None:
    sent = of_draws("student", DRAWS, names)
    assert draws_of("student", sent) == {name: getattr(DRAWS, name) for name in names}
    assert draws_of("teacher", sent) == {}

"""Which views a teaching shows, and which mixups contradict it."""

from __future__ import annotations

import pytest

from framework.errors import UserError
from framework.teachings import TEACHINGS, resolve


def test_the_paper_s_teachings() -> None:
    rows = {name: (each.shared, each.teacher_crop, each.mixup) for name, each in TEACHINGS.items()}
    assert rows["fixed"] == (False, "whole", 0.0)
    assert rows["independent"] == (False, "random", 0.0)
    assert rows["consistent"][0::2] == (True, 0.0)
    assert rows["funmatch"][0::2] == (True, 1.0)


@pytest.mark.parametrize("name", TEACHINGS)
def test_the_views_may_leave_mixup_to_the_teaching(name: str) -> None:
    assert resolve(name, None) == TEACHINGS[name]


@pytest.mark.parametrize("name", ["funmatch", "labels"])
def test_mixing_teachings_take_another_p(name: str) -> None:
    assert resolve(name, 0.25).mixup == 0.25
    assert TEACHINGS[name].mixup != 0.25


def test_labels_may_go_unmixed() -> None:
    assert resolve("labels", 0.0).mixup == 0


@pytest.mark.parametrize("name", ["fixed", "independent", "consistent"])
def test_a_contradiction_is_refused(name: str) -> None:
    assert resolve(name, 0.0).mixup == 0
    with pytest.raises(UserError, match="say teaching=funmatch"):
        resolve(name, 0.5)


def test_unmixed_function_matching_is_refused() -> None:
    with pytest.raises(UserError, match="say teaching=consistent"):
        resolve("funmatch", 0.0)


def test_an_unknown_teaching_names_the_near_one() -> None:
    with pytest.raises(UserError, match="did you mean 'consistent'"):
        resolve("consistant", None)

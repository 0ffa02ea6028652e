"""Which views a teaching shows, and which mixups contradict it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from framework.errors import UserError
from framework.spec.teachings import ALIASES, TEACHINGS, resolve

# Teacher's crop, student's, whether they are one, p of the mixing, whether targets are made before (paper, figure 2).
PAPER = {
    "fix/rs": ("whole", "whole", True, 0.0, False),
    "fix/cc": ("central", "mild", False, 0.0, False),
    "fix/ic_ens": ("inception", "inception", False, 0.0, True),
    "ind/rc": ("mild", "mild", False, 0.0, False),
    "ind/ic": ("inception", "inception", False, 0.0, False),
    "same/rc": ("mild", "mild", True, 0.0, False),
    "same/ic": ("inception", "inception", True, 0.0, False),
    "same/ic,mix": ("inception", "inception", True, 1.0, False),
}
PLAIN = {"independent": "ind/ic", "consistent": "same/ic", "funmatch": "same/ic,mix"}


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_teachings(name: str) -> None:
    found = resolve(name, None)
    row = (found.teacher_crop, found.student_crop, found.shared, found.mixup, found.averaged)
    assert row == PAPER[name]


def test_plain_names_are_the_paper_s() -> None:
    assert all(resolve(plain, None) == resolve(paper, None) for plain, paper in PLAIN.items())
    fixed = resolve("fixed", None)
    assert (fixed.teacher_crop, fixed.student_crop) == (PAPER["fix/rs"][0], PAPER["fix/ic_ens"][1])
    assert (fixed.shared, fixed.mixup, fixed.averaged) == (False, 0.0, False)
    assert {*TEACHINGS, *ALIASES} == {*PAPER, *PLAIN, "fixed", "labels"}


@pytest.mark.parametrize("name", ["funmatch", "same/ic,mix", "labels"])
@pytest.mark.parametrize("p", [0.1, 0.5, 2.0])
def test_mixing_teachings_take_another_p(name: str, p: float) -> None:
    assert resolve(name, p).mixup == p
    assert resolve(name, None).mixup != p


def test_labels_may_go_unmixed() -> None:
    assert resolve("labels", 0.0).mixup == 0


@pytest.mark.parametrize("name", ["ind/rc", "ind/ic", "independent", "fix/cc", "fixed"])
def test_views_of_their_own_may_be_mixed(name: str) -> None:
    plain = resolve(name, None)
    assert resolve(name, 0.0) == plain
    assert resolve(name, 0.5) == replace(plain, mixup=0.5)


@pytest.mark.parametrize("name", ["fix/rs", "same/rc", "same/ic", "consistent"])
def test_a_contradiction_is_refused(name: str) -> None:
    assert resolve(name, 0.0).mixup == 0
    with pytest.raises(UserError, match="use teaching=funmatch"):
        resolve(name, 0.5)


def test_targets_of_plain_images_are_not_for_mixed_ones() -> None:
    assert resolve("fix/ic_ens", 0.0).mixup == 0
    with pytest.raises(UserError, match=r"fix/ic_ens.*targets for images as they are"):
        resolve("fix/ic_ens", 0.5)


@pytest.mark.parametrize("name", ["funmatch", "same/ic,mix"])
def test_unmixed_function_matching_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*use teaching=consistent"):
        resolve(name, 0.0)


def test_an_unknown_teaching_names_the_near_one() -> None:
    with pytest.raises(UserError, match="did you mean 'consistent'"):
        resolve("consistant", None)
    with pytest.raises(UserError, match="did you mean 'same/ic,mix'"):
        resolve("same/ic,mx", None)

"""What is refused before a run trains."""

from __future__ import annotations

import pytest

from experiments.distillation.checks import refuse_weak_teacher
from framework.errors import UserError
from framework.spec import DistillSpec

ONE = {"test.teacher.accuracy": 0.8, "validation.teacher.accuracy": 0.1}
# Together they are better than the first alone.
TWO = {"test.teacher.accuracy": 0.95, "test.teacher0.accuracy": 0.7, "test.teacher1.accuracy": 0.9}


def spec_of(*least: float | None) -> DistillSpec:
    teachers = [{"name": f"own:{number}", "min_accuracy": each} for number, each in enumerate(least)]
    return DistillSpec.from_dict({"teachers": teachers})


def test_a_teacher_that_is_good_enough_passes() -> None:
    refuse_weak_teacher(spec_of(0.8), ONE)
    refuse_weak_teacher(spec_of(None), {})
    refuse_weak_teacher(spec_of(0.7, 0.9), TWO)
    refuse_weak_teacher(spec_of(None, 0.9), TWO)


def test_the_test_split_counts_first() -> None:
    with pytest.raises(UserError, match=r"'own:0' reaches 10\.0%, below teacher\.min_accuracy = 0\.8"):
        refuse_weak_teacher(spec_of(0.8), {"validation.teacher.accuracy": 0.1})


def test_each_of_several_teachers_is_held_against_its_own_accuracy() -> None:
    with pytest.raises(UserError, match=r"'own:0' reaches 70\.0%"):
        refuse_weak_teacher(spec_of(0.8, 0.9), TWO)
    with pytest.raises(UserError, match=r"'own:1' reaches 90\.0%"):
        refuse_weak_teacher(spec_of(None, 0.93), TWO)


def test_without_a_measure_nothing_is_promised() -> None:
    with pytest.raises(UserError, match="needs a test or validation split with labels"):
        refuse_weak_teacher(spec_of(0.0), {"test.student.kl": 1.0})

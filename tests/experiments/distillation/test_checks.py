"""What is refused before a run trains."""

from __future__ import annotations

import math

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
    with pytest.raises(UserError, match=r"'own:0' reaches 10\.0% on validation, below teacher\.min_accuracy = 0\.8"):
        refuse_weak_teacher(spec_of(0.8), {"validation.teacher.accuracy": 0.1})


def test_each_of_several_teachers_is_held_against_its_own_accuracy() -> None:
    with pytest.raises(UserError, match=r"'own:0' reaches 70\.0%"):
        refuse_weak_teacher(spec_of(0.8, 0.9), TWO)
    with pytest.raises(UserError, match=r"'own:1' reaches 90\.0%"):
        refuse_weak_teacher(spec_of(None, 0.93), TWO)


def test_without_a_measure_nothing_is_promised() -> None:
    with pytest.raises(UserError, match="needs a test or validation split with labels"):
        refuse_weak_teacher(spec_of(0.1), {"test.student.kl": 1.0})
    refuse_weak_teacher(spec_of(0.0), {"test.student.kl": 1.0})


@pytest.mark.parametrize(
    ("accuracy", "examples", "least", "refused"),
    [(0.2, 75, None, True), (0.2, 75, 0.0, False), (0.5, 75, None, False), (0.2, 20, None, False)],
)
def test_a_teacher_near_chance_needs_to_be_allowed(
    accuracy: float, examples: int, least: float | None, refused: bool
) -> None:
    measured = {"test.teacher.accuracy": accuracy, "test.examples": examples}
    if not refused:
        refuse_weak_teacher(spec_of(least), measured, 5)
        return
    with pytest.raises(
        UserError, match=r"'own:0' reaches 20\.0% on test, near chance \(20\.0% of 5 classes\): wrong .*=0"
    ):
        refuse_weak_teacher(spec_of(least), measured, 5)


def test_a_teacher_without_finite_logits_is_named() -> None:
    measured = {"test.teacher.accuracy": 0.9, "test.teacher.loss": math.nan}
    with pytest.raises(UserError, match="the teacher 'own:0' gives no finite logits for images of test"):
        refuse_weak_teacher(spec_of(0.5), measured)

"""Every recipe is a valid spec whose names exist and whose student builds."""

from __future__ import annotations

import pytest

from experiments import config, teachers
from experiments.options import RunOptions
from experiments.recipes import DEFAULT, DEFAULT_TEACHER, RECIPES


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_is_a_spec(name: str) -> None:
    spec = config.recipe_spec(name)
    assert config.read([name])[0] == config.defaults(name)
    assert "." not in name  # which would mean an ingredient to Sacred
    assert (spec.teaching == "labels") == name.endswith(("_labels", "_teacher"))
    assert spec.schedule.warmup_steps < spec.duration.steps(660, spec.batch_size)


@pytest.mark.backend
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_all_names_of_a_recipe_exist(name: str, backend: str) -> None:
    config.check_early(config.recipe_spec(name), RunOptions(backend=backend))


@pytest.mark.backend
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_student_of_a_recipe_builds(name: str) -> None:
    from experiments.distilling import build_student

    spec = config.recipe_spec(name)
    student = build_student(spec.student, 10, spec)
    shape = (None, spec.views.size, spec.views.size, 3)
    assert tuple(student.compute_output_shape(shape)) == (None, 10)


def test_recipes_differ() -> None:
    prints = [config.recipe_spec(name).fingerprint for name in RECIPES]
    assert len(set(prints)) == len(RECIPES)


def test_defaults_and_trained_teachers_are_recipes() -> None:
    assert {DEFAULT, DEFAULT_TEACHER, *teachers.TRAINED.values()} <= set(RECIPES)


def test_the_baseline_is_the_same_student() -> None:
    for data in ("digits", "glyphs"):
        distilled, labels = config.recipe_spec(data), config.recipe_spec(f"{data}_labels")
        assert (labels.student, labels.data, labels.duration) == (distilled.student, distilled.data, distilled.duration)
        assert labels.mixup == distilled.mixup

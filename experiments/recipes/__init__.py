"""Recipes: named, complete specs, one file for a family; a value is what differs from `DistillSpec`'s defaults."""

from typing import Any

from experiments.recipes import digits, glyphs, paper

RECIPES: dict[str, dict[str, Any]] = {**glyphs.RECIPES, **digits.RECIPES, **paper.RECIPES}
# What a recipe takes and gives, in a line.
NOTES: dict[str, str] = {**glyphs.NOTES, **digits.NOTES, **paper.NOTES}
DEFAULT, DEFAULT_TEACHER = "glyphs", "glyphs_teacher"

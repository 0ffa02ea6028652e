"""Recipes: named, complete specs, one file for a data set; a value is what differs from `DistillSpec`'s defaults."""

from typing import Any

from experiments.recipes import digits, glyphs

RECIPES: dict[str, dict[str, Any]] = {**glyphs.RECIPES, **digits.RECIPES}
DEFAULT, DEFAULT_TEACHER = "glyphs", "glyphs_teacher"

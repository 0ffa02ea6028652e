"""Recipes: named, complete specs, one file for a family; a value is what differs from `DistillSpec`'s defaults."""

from typing import Any

from experiments.recipes import digits, fashion, glyphs, paper

_FAMILIES = (glyphs, digits, fashion, paper)
RECIPES: dict[str, dict[str, Any]] = {name: delta for family in _FAMILIES for name, delta in family.RECIPES.items()}
# What a recipe takes and gives, in a line.
NOTES: dict[str, str] = {name: note for family in _FAMILIES for name, note in family.NOTES.items()}
DEFAULT, DEFAULT_TEACHER = "glyphs", "glyphs_teacher"

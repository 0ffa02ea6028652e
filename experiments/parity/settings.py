"""What parity compares unless told otherwise: small, and such that no part of a step is without effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from experiments import config
from experiments.distillation.naming import stored_names
from framework.errors import UserError, near
from framework.files.paths import path_of
from framework.spec import DistillSpec

# Of every comparison, a recipe's as well. Without a warm-up, or the first step would move nothing; without truncation,
# because two backends may differ by a whole grey level after it; taught by a net that needs no training.
ALWAYS = (
    "views.truncate=False",
    "schedule.warmup_steps=0",
    "teachers=[{'name': 'convnet', 'options': {'widths': [16, 32, 64]}}]",
)
# Where no recipe is named: temperature and decay of visible size, and a clip that acts.
SMALL = (
    "data=digits",
    "student.options.widths=[8, 16, 16]",
    "views.size=8",
    "views.area=[0.2, 1.0]",
    "loss.temperature=2.0",
    "optimizer.lr=0.003",
    "optimizer.weight_decay=0.01",
    "optimizer.clip_norm=0.1",
    "duration.total_steps=100",
    "batch_size=32",
)


def spec_of(updates: Sequence[str]) -> DistillSpec:
    """The spec of parity's defaults, or of a recipe, with the user's updates.

    Args:
        updates: what follows `with`: `["teaching=independent", "optimizer.lr=0.01"]`, or names of recipes.

    Raises:
        UserError: an unknown key or recipe, a value out of range, or an option that is none of a spec's.
    """
    _, recipes, changes = config.read(updates)
    base = config.defaults(None)
    for name in recipes:
        base = config.apply(base, config.RECIPES[name])
    base = config.apply(base, config.read(ALWAYS if recipes else [*SMALL, *ALWAYS])[2])
    fields = [field.name for field in dataclasses.fields(DistillSpec)]
    for key in changes:
        if key not in (*fields, "teacher"):
            raise UserError(f"{key!r} is not part of a spec ({near(key, fields)}); --help lists parity's own options")
    spec = config.spec_and_options(config.apply(base, changes))[0]
    for teacher in spec.teachers:
        if teacher.name in stored_names() or path_of(teacher.name).is_dir():
            raise UserError(
                f"teacher.name = {teacher.name!r}: parity draws all weights at random and takes no stored teacher; "
                "leave teacher= out, or name a model, teacher=convnet"
            )
    return spec


def replaced_teachers(updates: Sequence[str], spec: DistillSpec) -> str:
    """What to say of a recipe's teachers in whose place others are taken; nothing where there are none."""
    _, recipes, _ = config.read([word for word in updates if "=" not in word and word != "with"])
    before = [teacher["name"] for teacher in config.defaults(recipes[-1])["teachers"]] if recipes else []
    now = [teacher.name for teacher in spec.teachers]
    if not before or before == now:
        return ""
    return f"parity takes {', '.join(now)} with random weights instead of the recipe's teacher {', '.join(before)}"

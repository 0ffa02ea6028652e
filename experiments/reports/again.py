"""The command that does a run again, from its stored config."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from experiments import config as configs
from experiments.recipes import DEFAULT, RECIPES
from experiments.tracking.fields import flatten

# What the machine had to say, and what a run that is resumed is asked.
_PLACED = ("device", "threads", "resume", "resume_anyway", "extend", "extend_level")
_COMMANDS = {"teacher": "experiments.teacher"}


def command(document: Mapping[str, Any]) -> str | None:
    """A command line for a document's `config`, `meta` and `experiment`; None for a run of other programs."""
    config = document.get("config")
    if not isinstance(config, Mapping) or "teaching" not in config:
        return None
    named = [name for name in (document.get("meta") or {}).get("named_configs") or () if name in RECIPES] or [DEFAULT]
    module = _COMMANDS.get(str((document.get("experiment") or {}).get("name")), "experiments.run")
    return shlex.join(["python", "-m", module, "with", *named, *_changes(config, _base(tuple(named)))])


@cache
def _base(recipes: tuple[str, ...]) -> dict[str, Any]:
    """The options of some recipes, one upon the other, under flat names."""
    base = configs.defaults(None)
    for name in recipes:
        base = configs.apply(base, RECIPES[name])
    return flatten(base)


def _changes(config: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    after = flatten(config)
    changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
    # A duration takes the place of any other; an option without a value is none.
    return [
        f"{name}={value}"
        for name, value in changed.items()
        if name.partition(".")[0] not in _PLACED and not (value is None and name.startswith("duration."))
    ]

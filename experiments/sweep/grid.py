"""From the words of a command line to the points of a grid."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from experiments import config as configs
from experiments.distillation.options import RunOptions
from framework.errors import UserError
from framework.spec import DistillSpec

_OPTIONS = [field.name for field in dataclasses.fields(RunOptions)]
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Point:
    """One student of a sweep.

    Attributes:
        values: what it has of each key that is swept, as it was written.
        config: the complete config of its run.
        recipes: the named configs in it.
    """

    values: Mapping[str, str]
    config: configs.Config
    recipes: Sequence[str] = ()

    @cached_property
    def checked(self) -> tuple[DistillSpec, RunOptions]:
        """What the config says."""
        return configs.spec_and_options(self.config)

    @property
    def spec(self) -> DistillSpec:
        """The distillation."""
        return self.checked[0]

    @property
    def label(self) -> str:
        """The values in a line."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())


def points(over: Sequence[str], words: Sequence[str], recipe: str) -> list[Point]:
    """All combinations of the values.

    Args:
        over: `key=value,value` each.
        words: what follows `with`, for all of them.
        recipe: where no recipe is named.

    Raises:
        UserError: no or unknown keys, no values, a value out of range, a key that doesn't change the student, two
            points that are the same.
    """
    axes = _axes(over, words)
    made = []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        config, recipes, _ = configs.read([*words, *(f"{key}={value}" for key, value in values.items())], recipe)
        made.append(Point(values, config, tuple(recipes)))
    _refuse_doubles(made)
    return made


def _axes(over: Sequence[str], words: Sequence[str]) -> dict[str, list[str]]:
    if not over:
        raise UserError("nothing is swept: write over KEY=VALUE,VALUE ... with RECIPE; --help shows examples")
    fixed = {word.partition("=")[0] for word in words if "=" in word}
    axes: dict[str, list[str]] = {}
    for word in over:
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"over {word!r}: expected KEY=VALUE,VALUE; recipes come after 'with'")
        if key in axes or key in fixed:
            raise UserError(f"{key!r} is given twice")
        if key in _OPTIONS:
            raise UserError(f"over {word!r}: {key} doesn't change the student and can't be swept; write with {key}=...")
        axes[key] = split_values(text)
        if not all(axes[key]) or not axes[key]:
            raise UserError(f"over {word!r}: expected values separated by commas, {key}=VALUE,VALUE")
    return axes


def split_values(text: str) -> list[str]:
    """The values between commas; those inside of brackets and quotes separate nothing.

    >>> split_values("1e-3,3e-3"), split_values("[4,4],[8,8]"), split_values("")
    (['1e-3', '3e-3'], ['[4,4]', '[8,8]'], [])
    """
    values = [""]
    inside: list[str] = []
    for letter in text:
        if inside and letter == inside[-1]:
            inside.pop()
        elif letter in _PAIRS or (letter in "'\"" and not inside):
            inside.append(_PAIRS.get(letter, letter))
        if letter == "," and not inside:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values] if text else []


def _refuse_doubles(made: Sequence[Point]) -> None:
    seen: dict[str, Point] = {}
    for point in made:
        spec = point.spec
        name = f"{spec.fingerprint} {spec.evaluation}"
        if name in seen:
            raise UserError(f"{point.label} is the same student as {seen[name].label}")
        seen[name] = point

"""From the words of a command line to the runs of a study: those that choose a learning rate, and those that count."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import config as configs
from experiments.config import Config
from experiments.recipes import DEFAULT
from experiments.study.catalog import Arm, Study
from experiments.study.known import MISSING, Found
from experiments.sweep.grid import Point, split_values
from framework.errors import UserError
from framework.loop.evaluator import nested

# Learning rates and decays in those of the recipe, for every arm the same.
_GRID = {"optimizer.lr": (0.3, 1.0, 3.0), "optimizer.weight_decay": (0.1, 1.0, 10.0)}
NO_GRID = "none"
_UNITS = ("total_epochs", "total_steps", "total_examples")
# What a figure over the epochs needs; none of it changes a student.
_EVALUATION = {"num_times": 40, "spacing": "log"}
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Planned:
    """A run of a study: `point` is what a sweep trains, `settings` what the grid chose, `found` what there is of it."""

    arm: Arm
    settings: Settings
    point: Point
    found: Found = MISSING


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        study: which.
        config: the recipe's, with the words.
        recipes: those that are named.
        arms: what is compared.
        lengths: the durations, in the recipe's unit.
        seeds: of all random numbers.
        grid: keys with the values that are tried; empty for none.
        unit: in what the recipe's duration is counted.
        own_length: the recipe's duration, at which the grid is tried.
    """

    study: Study
    config: Config
    recipes: tuple[str, ...]
    arms: tuple[Arm, ...]
    lengths: tuple[float, ...]
    seeds: tuple[int, ...]
    grid: Mapping[str, tuple[Any, ...]]
    unit: str
    own_length: float

    def tuned(self) -> list[Arm]:
        """The arms whose settings are chosen."""
        return [arm for arm in self.arms if arm.tuned and self.grid]

    def tuning(self) -> Iterator[Planned]:
        """The runs of the grid: the first seed, at the recipe's duration."""
        for arm, *values in itertools.product(self.tuned(), *self.grid.values()):
            settings = dict(zip(self.grid, values, strict=True))
            yield self.planned(arm, self.own_length, self.seeds[0], settings)

    def counted(self, chosen: Mapping[str, Settings]) -> Iterator[Planned]:
        """The runs that count, of the arms whose settings are known.

        Args:
            chosen: by the arm's label.
        """
        for arm in self.arms:
            if arm.label in chosen or arm not in self.tuned():
                for length, seed in itertools.product(self.lengths, self.seeds):
                    yield self.planned(arm, length, seed, chosen.get(arm.label, {}))

    def planned(self, arm: Arm, length: float, seed: int, settings: Settings) -> Planned:
        """One run.

        Raises:
            UserError: a value out of range.
        """
        config = configs.apply(self.config, arm.changes)
        # Epochs alone may be a fraction.
        own = {"duration": {self.unit: length if self.unit == _UNITS[0] else int(length)}, "seed": seed}
        config = configs.apply(config, nested(settings) | own)
        values = {"arm": arm.label, self.unit: f"{length:g}", "seed": str(seed)}
        values |= {key: short(value) for key, value in settings.items()}
        point = Point(values, config, self.recipes)
        _ = point.checked
        return Planned(arm, settings, point)


def short(value: object) -> str:
    """A value of a setting, as it is told."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def request(
    study: Study, words: Sequence[str], durations: str | None, seeds: str, grid: Sequence[str], domains: Sequence[str]
) -> Request:
    """Read what follows the study's name.

    Args:
        study: which.
        words: recipes and `key=value`, as in `experiments.run`.
        durations: numbers between commas, in the recipe's unit; None takes the study's own.
        seeds: whole numbers between commas.
        grid: `key=value,value` each, or `none`; empty takes three learning rates and decays around the recipe's.
        domains: data sets between commas, for the study of domains.

    Raises:
        UserError: anything out of range, or a key that the study sets itself.
    """
    given = [word.partition("=")[0] for word in words if "=" in word]
    for key in given:
        _refuse_varied(key, study)
    config, recipes, _ = configs.read(words, DEFAULT)
    arms = tuple(study.arms(config, domains))
    config = configs.apply(config, {"evaluation": _evaluation(config, given)})
    unit, own = next((unit, float(config["duration"][unit])) for unit in _UNITS if config["duration"].get(unit))
    lengths = _lengths(durations) if durations else tuple(_rounded(own * each) for each in study.factors)
    made = Request(study, config, tuple(recipes), arms, lengths, _seeds(seeds), _grid(grid, config, given), unit, own)
    # Each run is made once, so that what is out of range is refused before anything is trained.
    list(made.tuning())
    list(made.counted({arm.label: {} for arm in arms}))
    return made


def _refuse_varied(key: str, study: Study) -> None:
    told = {"seed": "--seeds 0,1,2 says which seeds", "resume": "the same command again continues where it stopped"}
    if key in told:
        raise UserError(f"{key}=: {told[key]}")
    if key in study.varied:
        raise UserError(f"{key}=: the study itself compares this")


def _evaluation(config: Config, given: Sequence[str]) -> dict[str, Any]:
    """Measured on every split along the way, at more and more steps."""
    data = config["data"]
    there = {"train": config["evaluation"]["train_subset"], "validation": data["validation"], "test": data["test"]}
    wanted = {**_EVALUATION, "splits": [name for name, value in there.items() if value]}
    return {key: value for key, value in wanted.items() if f"evaluation.{key}" not in given}


def _rounded(number: float) -> float:
    """To one digit, where it is no whole number of them already.

    >>> _rounded(3000), _rounded(1666.7), _rounded(5000 / 3 * 10)
    (3000.0, 2000.0, 20000.0)
    """
    return float(f"{number:.0e}") if number != int(number) else float(number)


def _lengths(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(each) for each in text.split(",")}))
    except ValueError:
        raise UserError(f"--durations {text!r}: expected numbers separated by commas, --durations 1000,10000") from None


def _seeds(text: str) -> tuple[int, ...]:
    found = text.split(",")
    if not all(each.isdecimal() for each in found):
        raise UserError(f"--seeds {text!r}: expected whole numbers separated by commas, --seeds 0,1,2")
    return tuple(dict.fromkeys(int(each) for each in found))


def _grid(words: Sequence[str], config: Config, given: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    if list(words) == [NO_GRID]:
        return {}
    if words:
        return dict(_axis(word, given) for word in words)
    return {key: _around(key, factors, config) for key, factors in _GRID.items() if key not in given}


def _around(key: str, factors: Sequence[float], config: Config) -> tuple[float, ...]:
    part, _, name = key.partition(".")
    own = config[part][name]
    return tuple(dict.fromkeys(float(f"{own * factor:.6g}") for factor in factors))


def _axis(word: str, given: Sequence[str]) -> tuple[str, tuple[Any, ...]]:
    key, equals, text = word.partition("=")
    values = split_values(text)
    if not equals or not values or not all(values):
        raise UserError(f"--grid {word!r}: expected KEY=VALUE,VALUE, or {NO_GRID}")
    if not key.startswith(("optimizer.", "schedule.", "loss.")):
        raise UserError(f"--grid {word!r}: expected a key of optimizer, schedule or loss")
    if key in given:
        raise UserError(f"{key!r} is given twice: in the grid and after 'with'")
    return key, tuple(configs.value_of(each) for each in values)

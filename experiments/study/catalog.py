"""The studies there are: what is compared, for how long, and which figures show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.config import Config
from framework.errors import UserError


@dataclass(frozen=True)
class Arm:
    """One of the things that a study compares.

    Attributes:
        label: what it is called.
        changes: what it changes of the recipe, nested as in a config.
        tuned: its learning rate and decay are chosen from the grid; otherwise they are the recipe's.
    """

    label: str
    changes: Mapping[str, Any]
    tuned: bool = True


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        summary: in a line.
        arms: made from the recipe's config and the words of `--domains`.
        figures: names of `experiments.figures.catalog.FIGURES` that show it.
        varied: the keys that it sets itself.
        factors: its durations, in those of the recipe; rounded to one digit.
    """

    summary: str
    arms: Callable[[Config, Sequence[str]], list[Arm]]
    figures: tuple[str, ...]
    varied: tuple[str, ...]
    factors: tuple[float, ...] = (1.0,)


_SET_UPS = ("same/ic,mix", "same/ic", "same/rc", "ind/ic", "ind/rc", "fix/ic_ens", "fix/rs", "fix/cc")
_TEMPERATURES = (1, 2, 5, 10)


def _teaching(name: str, tuned: bool = True) -> Arm:
    return Arm(name, {"teaching": name}, tuned)


def _patience(config: Config, domains: Sequence[str]) -> list[Arm]:
    # Function matching has the recipe's own settings, which were chosen for it; the others can only gain by tuning.
    return [_teaching("same/ic,mix", tuned=False), _teaching("same/ic"), _teaching("fix/rs")]


def _labels(config: Config, domains: Sequence[str]) -> list[Arm]:
    def labels(mixup: float) -> dict[str, Any]:
        loss = {"task_weight": 1.0, "distance": "kl", "temperature": 1.0, "ensemble": "sum_kl"}
        return {"teaching": "labels", "views": {"mixup": mixup}, "loss": loss}

    return [
        _teaching("same/ic,mix"),
        Arm("labels with mixup", labels(1.0)),
        Arm("labels alone", labels(0.0)),
    ]


# Images of another kind that are at hand where these are: both need no network.
_OTHERS = {"digits": ("glyphs",), "glyphs": ("digits",)}


def _domain(config: Config, domains: Sequence[str]) -> list[Arm]:
    own = str(config["data"]["name"])
    others = domains or _OTHERS.get(own, ("digits", "glyphs"))
    if own in others:
        raise UserError(f"--domains {','.join(others)}: {own} is the data set itself")
    return [Arm(f"{own} itself", {}), *(Arm(name, {"data": {"train_from": name}}) for name in others)]


def _teachers(config: Config, domains: Sequence[str]) -> list[Arm]:
    if len(config["teachers"]) != 1:
        raise UserError("study teachers shows one teacher in two resolutions: the recipe needs exactly one teacher")
    size, resize = config["views"]["size"], config["evaluation"]["resize"]
    larger, smaller = round(1.5 * size), round(2 * size / 3)
    [teacher] = config["teachers"]
    small = {"evaluation": {"resize": round(resize * smaller / size)}} if resize else {}
    both = {"views": {"teacher_size": [larger, size]}, "loss": {"ensemble": "mean_logits"}}
    return [
        Arm(f"{size} to {size} px", {}),
        Arm(f"{larger} to {size} px", {"views": {"teacher_size": larger}}),
        Arm(f"{larger} and {size} to {size} px", both | {"teachers": [teacher, teacher]}),
        Arm(f"{size} to {smaller} px", {"views": {"size": smaller, "teacher_size": size}} | small),
    ]


STUDIES: dict[str, Study] = {
    "patience": Study(
        "function matching for longer and longer, beside a consistent and a fixed teacher",
        _patience,
        ("patience", "lengths"),
        ("teaching",),
        # To one digit: 1,000, 10,000 and 100,000 where the recipe has 3,000.
        (1 / 3, 10 / 3, 100 / 3),
    ),
    "teaching": Study(
        "the eight set-ups: which views teacher and student see",
        lambda *_: [_teaching(name) for name in _SET_UPS],
        ("teaching", "agreement"),
        ("teaching",),
    ),
    "temperature": Study(
        "temperatures 1, 2, 5 and 10",
        lambda *_: [Arm(f"T={value}", {"loss": {"temperature": float(value)}}) for value in _TEMPERATURES],
        ("temperature",),
        ("loss.temperature",),
    ),
    "labels": Study(
        "labels, with mixup and without, for as long as function matching",
        _labels,
        ("labels",),
        ("teaching", "views.mixup", "loss.task_weight"),
        (1.0, 10.0),
    ),
    "domain": Study("training images of another domain", _domain, ("domain",), ("data.train_from",)),
    "teachers": Study(
        "a teacher at two resolutions, and both together",
        _teachers,
        ("teachers",),
        ("views.size", "views.teacher_size", "loss.ensemble", "evaluation.resize"),
    ),
}

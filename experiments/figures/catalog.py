"""What each figure shows: which runs, what makes a curve, which metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from framework.errors import UserError, near
from framework.spec import DistillSpec
from framework.spec.teachings import canonical

Over = Literal["epoch", "length", "key"]

_TEACHINGS = {
    "funmatch": "function matching",
    "consistent": "consistent, inception crops",
    "same/rc": "consistent, mild crops",
    "independent": "independent, inception crops",
    "ind/rc": "independent, mild crops",
    "fix/ic_ens": "fixed, mean of crops",
    "fixed": "fixed, the student's crops",
    "fix/rs": "fixed, the whole image",
    "fix/cc": "fixed, central crop",
}
_LABELS = ("labels with mixup", "labels alone")
# In the order of legends.
TAUGHT = (*_TEACHINGS.values(), *_LABELS)


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        metric: what is drawn upwards; `{split}` stands for the split that is looked at.
        over: what is drawn sideways: the epochs of a run (its course), a run's whole length in epochs, or the number
            that tells the curves apart. The last two draw the ends of finished runs alone.
        log: a logarithmic axis upwards.
        enlarged: the part where the schedules end alone.
    """

    metric: str
    over: Over = "epoch"
    log: bool = False
    enlarged: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        number: in the paper; empty for one that the paper doesn't have.
        title: above it.
        panels: beside each other.
        curve: what a run's curve is called.
        key: the number that orders the curves; None where names do.
        shows: whether a run belongs to it.
        lengths: curves of all lengths are drawn; otherwise those of the length that most curves have.
        study: trains what it shows.
    """

    number: str
    title: str
    panels: tuple[Panel, ...]
    curve: Callable[[DistillSpec], str]
    key: Callable[[DistillSpec], float] | None = None
    shows: Callable[[DistillSpec], bool] = lambda spec: True
    lengths: bool = False
    study: str = "teaching"


def taught(spec: DistillSpec) -> str:
    """A teaching in words.

    Example:
        >>> taught(DistillSpec(teaching="consistent"))
        'consistent, inception crops'
    """
    if not spec.teachers:
        return _LABELS[0 if spec.scheme.mixup else 1]
    name = canonical(spec.teaching)
    words = _TEACHINGS.get(name, name)
    mixed = spec.views.mixup is not None and spec.scheme.mixup > 0 and name != "funmatch"
    return f"{words}, mixed" if mixed else words


def _origin(spec: DistillSpec) -> str:
    return spec.data.train_from or f"{spec.data.name} itself"


def _temperature(spec: DistillSpec) -> str:
    return f"T = {spec.loss.temperature:g}"


def _teachers(spec: DistillSpec) -> str:
    names = dict.fromkeys(each.name for each in spec.teachers)
    sizes = " and ".join(f"{size} px" for size in spec.teacher_sizes)
    who = f"{' and '.join(names)} at {sizes}" if len(names) > 1 else f"teacher at {sizes}"
    return f"{who}, student at {spec.views.size} px"


def _matches(spec: DistillSpec) -> bool:
    return bool(spec.teachers) and canonical(spec.teaching) == "funmatch"


def _distils(spec: DistillSpec) -> bool:
    return bool(spec.teachers)


def _plain(spec: DistillSpec) -> bool:
    """No images of others, one teacher: what is compared elsewhere stays out."""
    return spec.data.train_from is None and len(spec.teachers) <= 1


ACCURACY = "{split}.student.accuracy"
FIGURES: dict[str, Figure] = {
    "headline": Figure(
        "1",
        "Accuracy after training for so long",
        (Panel(ACCURACY, "length"),),
        taught,
        shows=lambda spec: _plain(spec) and (_matches(spec) or not spec.teachers),
        lengths=True,
        study="patience",
    ),
    "teaching": Figure(
        "3",
        "Which views teacher and student see",
        (Panel("train.loss", log=True), Panel(ACCURACY), Panel(ACCURACY, enlarged=True)),
        taught,
        shows=lambda spec: _plain(spec) and _distils(spec),
    ),
    "patience": Figure(
        "4",
        "Accuracy while training, one curve for each length",
        (Panel(ACCURACY), Panel(ACCURACY, enlarged=True), Panel("{split}.student.kl", log=True)),
        lambda spec: "",
        shows=lambda spec: _plain(spec) and _matches(spec),
        lengths=True,
        study="patience",
    ),
    "lengths": Figure(
        "5",
        "Teachings after training for so long",
        (Panel(ACCURACY, "length"),),
        taught,
        shows=lambda spec: _plain(spec) and _distils(spec),
        lengths=True,
        study="patience",
    ),
    "domain": Figure(
        "6",
        "Training images of another domain",
        (Panel(ACCURACY), Panel(ACCURACY, enlarged=True)),
        _origin,
        shows=lambda spec: _matches(spec) and len(spec.teachers) == 1,
        study="domain",
    ),
    "labels": Figure(
        "7",
        "Labels for as long",
        (Panel(ACCURACY), Panel(ACCURACY, enlarged=True), Panel("{split}.student.loss", log=True)),
        taught,
        shows=lambda spec: _plain(spec) and (_matches(spec) or not spec.teachers),
        lengths=True,
        study="labels",
    ),
    "temperature": Figure(
        "",
        "Temperature",
        (Panel(ACCURACY), Panel(ACCURACY, "key"), Panel("{split}.student.kl", "key", log=True)),
        _temperature,
        key=lambda spec: spec.loss.temperature,
        shows=lambda spec: _plain(spec) and _matches(spec),
        study="temperature",
    ),
    "agreement": Figure(
        "",
        "Student and teacher, on training images and on others",
        (
            Panel("train.student.kl", log=True),
            Panel("{split}.student.kl", log=True),
            Panel("train.student.agreement@1"),
            Panel("{split}.student.agreement@1"),
        ),
        taught,
        shows=lambda spec: _plain(spec) and _distils(spec),
    ),
    "teachers": Figure(
        "",
        "Resolutions and ensembles",
        (Panel(ACCURACY), Panel("{split}.student.kl", log=True)),
        _teachers,
        shows=_matches,
        study="teachers",
    ),
}


def find(name: str) -> str:
    """The figure's name, from itself or from the paper's number.

    Raises:
        UserError: there is no such figure.
    """
    numbers = {figure.number: known for known, figure in FIGURES.items() if figure.number}
    if name in FIGURES or name in numbers:
        return numbers.get(name, name)
    raise UserError(f"no figure {name!r}: {near(name, [*sorted(numbers), *FIGURES])}")

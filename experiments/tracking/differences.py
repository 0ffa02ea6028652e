"""What tells specs apart, in words: `teaching=same/ic, optimizer.lr=0.01`."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.tracking.fields import flatten
from framework.spec import DistillSpec

_SPEC = {field.name for field in dataclasses.fields(DistillSpec)}
# What people look for first; the others follow in the order of the alphabet.
_FIRST = ("data.name", "teaching", "teacher.name", "student.name", "loss.distance", "optimizer.name", "optimizer.lr")
_OF_TEACHERS = re.compile(r"(teacher\d*|loss)\.")
_NOTHING: tuple[Any, ...] = (None, [], {})
# Where nothing differs, a spec is called by these.
_NAMES = ("data.name", "teaching")


def spec_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored config that determine the student, less the seed, under flat names.

    Example:
        >>> spec_fields({"seed": 1, "device": "cpu", "teachers": [{"name": "bit"}], "views": {"size": 64}})
        {'teacher.name': 'bit', 'views.size': 64}
    """
    kept = {key: value for key, value in config.items() if key in _SPEC and key != "seed"}
    return flatten({**by_teacher(kept.pop("teachers", None)), **kept})


def by_teacher(teachers: Sequence[Any] | None) -> dict[str, Any]:
    """A list of teachers by their names: `teacher`, or `teacher0`, `teacher1`, ... where there are several."""
    teachers = teachers or ()
    names = ["teacher"] if len(teachers) == 1 else [f"teacher{number}" for number in range(len(teachers))]
    return dict(zip(names, teachers, strict=True))


def described(configs: Sequence[Mapping[str, Any]], short: bool = False) -> list[str]:
    """Each by what differs between them; where nothing does, by its data and teaching.

    Args:
        configs: flat fields, as of `spec_fields`.
        short: fields go by the ends of their names where no two end alike, `lr` for `optimizer.lr`, and those without a
            value are left out.

    Example:
        >>> described([{"teaching": "labels", "batch_size": 8}, {"teaching": "funmatch", "batch_size": 8}])
        ['teaching=labels', 'teaching=funmatch']
    """
    names = sorted({name for config in configs for name in config}, key=_rank)
    called = _ends(names) if short else {name: name for name in names}
    differing = [name for name in names if _differs(name, configs)] or _NAMES
    told = [{name: value for name, value in config.items() if not short or value not in _NOTHING} for config in configs]
    renamed = [{called[name]: value for name, value in config.items()} for config in told]
    return [pairs(config, [called.get(name, name) for name in differing]) for config in renamed]


def _differs(name: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a field tells any apart: who has no teacher says nothing about teachers, or the distance to them."""
    asked = [config for config in configs if not _OF_TEACHERS.match(name) or any(map(_OF_TEACHERS.match, config))]
    return len({repr(config.get(name)) for config in asked}) > 1


def _ends(names: Sequence[str]) -> dict[str, str]:
    """What fields go by: `name` alone would say too little."""
    ends = {name: name.rpartition(".")[2] for name in names}
    counts = Counter(ends.values())
    return {name: end if counts[end] == 1 and end != "name" else name for name, end in ends.items()}


def pairs(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """Some fields as they are written on a command line; those that are not there are left out."""
    return ", ".join(f"{name}={written(values[name])}" for name in names if name in values)


def written(value: Any) -> str:
    """A value as it is written on a command line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{','.join(written(item) for item in value)}]"
    return "null" if value is None else str(value)


def _rank(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)

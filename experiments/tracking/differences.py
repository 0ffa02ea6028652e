"""What tells specs apart, in words: `teaching=same/ic, optimizer.lr=0.01`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.tracking.fields import flatten
from framework.spec import DistillSpec

_SPEC = {field.name for field in dataclasses.fields(DistillSpec)}
# What people look for first; the others follow in the order of the alphabet.
_FIRST = ("data.name", "teaching", "teacher.name", "student.name", "loss.distance", "optimizer.name", "optimizer.lr")
# Where nothing differs, a spec is called by these.
_NAMES = ("data.name", "teaching")


def spec_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored config that determine the student, less the seed, under flat names.

    Example:
        >>> spec_fields({"seed": 1, "device": "cpu", "teachers": [{"name": "bit"}], "views": {"size": 64}})
        {'teacher.name': 'bit', 'views.size': 64}
    """
    kept = {key: value for key, value in config.items() if key in _SPEC and key != "seed"}
    teachers = kept.pop("teachers", None) or []
    names = ["teacher"] if len(teachers) == 1 else [f"teacher{number}" for number in range(len(teachers))]
    return flatten({**dict(zip(names, teachers, strict=True)), **kept})


def described(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each by what differs between them; where nothing does, by its data and teaching.

    Args:
        configs: flat fields, as of `spec_fields`.

    Example:
        >>> described([{"teaching": "labels", "batch_size": 8}, {"teaching": "funmatch", "batch_size": 8}])
        ['teaching=labels', 'teaching=funmatch']
    """
    names = sorted({name for config in configs for name in config}, key=_rank)
    differing = [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]
    return [pairs(config, differing or _NAMES) for config in configs]


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

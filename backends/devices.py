"""Devices by name, the same way on every backend."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from backends.base import Settings
from framework.errors import UserError, near

T = TypeVar("T")

# By this variable CUDA's users choose what a process sees.
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def match(wanted: str | None, found: Iterable[str], extras: Mapping[str, str] | None = None) -> str:
    """The device of a name.

    Args:
        wanted: `cpu`, `gpu` (or `cuda`), `tpu`, or one of them with a number, `gpu:1`; None takes the first found.
        found: the devices' names, `gpu:0`, the best first.
        extras: by kind, the extra of this project that makes such devices usable.

    Raises:
        UserError: there is no such device; it says which there are.
    """
    names = list(found)
    if wanted is None:
        return names[0]
    asked = wanted.lower().replace("cuda", "gpu")
    for name in names:
        if asked in (name, name.partition(":")[0]):
            return name
    kind = asked.partition(":")[0]
    hidden = os.environ.get(_VISIBLE) if kind == "gpu" else None
    if hidden is not None:
        raise UserError(
            f"device = {wanted!r} is not here: there is {', '.join(names)}; {_VISIBLE} = {hidden!r} hides other GPUs"
        )
    extra = (extras or {}).get(kind)
    if extra is None or any(name.startswith(f"{kind}:") for name in names):
        raise UserError(f"device = {wanted!r} is not here: {near(asked, names)}")
    raise UserError(
        f"device = {wanted!r} is not here: there is {', '.join(names)}; if the machine has one, install its extra: "
        f'pip install -c constraints.txt -e ".[{extra}]"'
    )


def several(settings: Settings, chosen: T, found: Sequence[T]) -> tuple[T, ...]:
    """The devices of one kind on which a process computes, the chosen one first.

    Raises:
        UserError: there are not so many.
    """
    count = settings.devices
    if count is None:
        return (chosen,)
    if count == 0:
        return tuple(found)
    rest = [each for each in found if each is not chosen]
    if count > 1 + len(rest):
        raise UserError(f"devices = {count}: here is {1 + len(rest)} of that kind")
    return (chosen, *rest[: count - 1])


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Devices by name, the same way on every engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from framework.errors import UserError, near

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


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

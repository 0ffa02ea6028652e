"""Devices by name, the same way on every engine."""

from __future__ import annotations

from collections.abc import Iterable

from framework.errors import UserError, near


def match(wanted: str | None, found: Iterable[str]) -> str:
    """The device of a name.

    Args:
        wanted: `cpu`, `gpu` (or `cuda`), `tpu`, or one of them with a number, `gpu:1`; None takes the first found.
        found: the devices' names, `gpu:0`, the best first.

    Raises:
        UserError: there is no such device; it says which there are.
    """
    names = list(found)
    if wanted is None:
        return names[0]
    asked = wanted.replace("cuda", "gpu")
    for name in names:
        if asked in (name, name.partition(":")[0]):
            return name
    raise UserError(f"device = {wanted!r} is not here: {near(asked, names)}")

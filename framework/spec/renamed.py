"""Old words of a spec: they still work, and what takes their place is said once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from framework.errors import UserError

_OLD, _NEW = "label_smoothing", "loss.options.label_smoothing"
OLD_KEYS = (f"loss.{_OLD}",)
# Without a handler of anybody's, Python writes the bare line to stderr.
_warn = functools.cache(logging.getLogger(__name__).warning)


def current(value: Any, options: Mapping[str, Any] | None = None) -> Any:
    """A spec's plain values, or some of them, with `loss.label_smoothing` moved into `loss.options`.

    Args:
        value: nested plain values; what is wrong with them otherwise is left for the spec to say.
        options: the `loss.options` that these values will be merged into.

    Raises:
        UserError: the old word and the new one are both given.
    """
    loss = value.get("loss") if isinstance(value, Mapping) else None
    if not isinstance(loss, Mapping) or _OLD not in loss:
        return value
    rest = {key: item for key, item in loss.items() if key != _OLD}
    given, share = rest.get("options", {}), loss[_OLD]
    if not isinstance(given, Mapping):
        return {**value, "loss": rest}
    if _OLD in given:
        raise UserError(f"loss.{_OLD} is the old word for {_NEW}: give the new one alone")
    # Every stored spec of former days has a zero, which says nothing unless it takes another value's place.
    if type(share) in (int, float) and share == 0 and _OLD not in (options or {}):
        return {**value, "loss": rest}
    _warn(f"loss.{_OLD} is now {_NEW}; the old word still works")
    return {**value, "loss": {**rest, "options": {**given, _OLD: share}}}

"""The values of a spec, each by its path."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from framework.spec import DistillSpec

DEFAULT = DistillSpec().to_dict()
Path_ = tuple[Any, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The path of each value that is no mapping and no list of mappings; an empty mapping is a leaf."""
    children = value.items() if isinstance(value, dict) and value else ()
    if isinstance(value, list) and value and isinstance(value[0], dict):
        children = list(enumerate(value))
    if not children:
        yield path
    for key, child in children:
        yield from leaves(child, (*path, key))


def replaced(value: Any, path: Path_, new: Any) -> Any:
    """A deep copy in which the value at a path is another one."""
    if not path:
        return new
    value = copy.deepcopy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value

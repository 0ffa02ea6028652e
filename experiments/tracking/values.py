"""Plain Python values for the journal, and what MongoDB accepts of them."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pymongo.database import Database

Mongo: TypeAlias = "Database[dict[str, Any]]"
INT64 = 2**63


def plain(value: Any) -> Any:
    """Turn numpy, torch, jax and tensorflow values, paths, enums and dataclasses into JSON's types.

    Args:
        value: anything; arrays become nested lists, what has no plain form becomes its text.

    Returns:
        None, bool, int, float (NaN and infinities included), str, list or dict with str keys.
    """
    if value is None or (isinstance(value, bool | str | int | float) and not isinstance(value, enum.Enum)):
        return _builtin(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=str)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _foreign(value)


def _builtin(value: Any) -> Any:
    """Undo subclasses: numpy's float64 is a float, and jsonpickle or BSON would still see numpy's type."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None


def _foreign(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "shape"):
        return _array(value)
    return str(value)


def _array(value: Any) -> Any:
    if not hasattr(value, "tolist"):
        value = value.numpy()  # TensorFlow's eager tensors
    if tuple(value.shape) == ():
        item = value.item() if hasattr(value, "item") else value
        return item if isinstance(item, bool | int | float | str) else float(item)
    return [plain(item) for item in value.tolist()]


def number(name: str, value: Any) -> float:
    """One metric's value, a Python, numpy, torch, jax or tensorflow scalar, as a float.

    Raises:
        TypeError: it is no scalar; the message names the metric.
    """
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metric {name!r} takes a scalar, got {type(value).__name__}: {error}") from None


def bson_safe(value: Any) -> Any:
    """Make values of `plain` storable: Sacred's own renaming of keys (`$x` to `@x`, `a.b` to `a,b`), 64-bit integers.

    Returns:
        The same structure with valid keys; larger integers and lone surrogates in their textual form.
    """
    if isinstance(value, dict):
        return {_bson_key(key): bson_safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [bson_safe(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -INT64 <= value < INT64:
        return str(value)
    return value


def _bson_key(key: str) -> str:
    key = key.encode("utf-8", "replace").decode().replace(".", ",").replace("\0", "")
    return "@" + key[1:] if key.startswith("$") else key

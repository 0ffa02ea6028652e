"""From plain nested values to frozen dataclasses: unknown keys, wrong types and ranges are errors with near matches."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from framework.errors import UserError, near

T = TypeVar("T")


def build(kind: type[T], value: Any, path: str = "") -> T:
    """Build a dataclass from a mapping, checking every key and type.

    Args:
        kind: a dataclass whose fields are scalars, tuples, mappings, unions of these with None, or dataclasses.
        value: a mapping of plain values (from JSON, a config or the command line).
        path: where the value stands, for messages, `"optimizer"`.

    Returns:
        An instance of `kind`.

    Raises:
        UserError: for an unknown key or a value of another type; it names the full path.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{path or 'the spec'} = {value!r}: expected keys and values, such as {_example(kind, path)}")
    hints = _hints(typing.cast(Any, kind))
    for key in value:
        if key not in hints:
            raise UserError(f"unknown key {_join(path, key)!r}: {near(str(key), hints)}")
    _require(kind, value, path)
    return kind(**{key: convert(hints[key], item, _join(path, key)) for key, item in value.items()})


def convert(hint: Any, value: Any, path: str) -> Any:
    """Convert one plain value to the type a field declares, or raise a `UserError` that names `path`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return _convert_ranged(args, value, path)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, path)
    if origin is typing.Literal:
        return _convert_choice(args, value, path)
    if origin is tuple:
        return _convert_tuple(args, value, path)
    if hint is dict or origin in (dict, Mapping):
        return _convert_mapping(value, path)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else build(typing.cast(type, hint), value, path)
    return _convert_scalar(hint, value, path)


@dataclass(frozen=True)
class Range:
    """What a parameter allows, in its annotation: `Annotated[float, Range(lambda p: 0 < p < 1, "0 < p < 1")]`.

    Attributes:
        holds: whether a value is allowed.
        allowed: the same in words, for messages.
    """

    holds: Callable[[Any], bool]
    allowed: str


def arguments(function: Callable[..., Any], options: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Options as the types that a function's parameters are annotated with; those of no plain type as they are.

    Raises:
        UserError: a value of another type or out of its range; it names the option behind `path`.
    """
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # somebody's own, with annotations for readers alone
        hints = {}
    known = {name: hint for name, hint in hints.items() if _is_plain(hint)}
    return {name: convert(known.get(name, Any), value, _join(path, name)) for name, value in options.items()}


def _is_plain(hint: Any) -> bool:
    """Whether `convert` knows a type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _is_plain(args[0])
    if origin in (typing.Union, types.UnionType, tuple):
        return all(each is Ellipsis or _is_plain(each) for each in args)
    return origin in (typing.Literal, dict) or hint in (bool, int, float, str, dict, type(None))


def check(condition: bool, path: str, value: Any, allowed: str) -> None:
    """Raise a `UserError` of one form for a value out of its range."""
    if not condition:
        raise UserError(f"{path} = {value!r}: must be {allowed}")


def plain(value: Any) -> Any:
    """Turn dataclasses and tuples into dicts and lists, as JSON knows them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _example(kind: Any, path: str) -> str:
    return " ".join(f"{_join(path, name)}=..." for name in list(_hints(kind))[:2])


def _require(kind: Any, value: Mapping[str, Any], path: str) -> None:
    for field in dataclasses.fields(kind):
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not has_default and field.name not in value:
            raise UserError(f"{_join(path, field.name)} is missing")


def _convert_union(args: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = [kind for kind in args if kind is not type(None)]
    errors = []
    for kind in kinds:
        try:
            return convert(kind, value, path)
        except UserError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise UserError(f"{path} = {value!r}: expected {' or '.join(_name(kind) for kind in args)}")


def _convert_ranged(args: tuple[Any, ...], value: Any, path: str) -> Any:
    value = convert(args[0], value, path)
    for limit in args[1:]:
        check(not isinstance(limit, Range) or limit.holds(value), path, value, limit.allowed)
    return value


def _convert_choice(args: tuple[Any, ...], value: Any, path: str) -> Any:
    if not any(type(value) is type(arg) and value == arg for arg in args):
        raise UserError(f"{path} = {value!r}: {near(str(value), [str(arg) for arg in args])}")
    return value


def _convert_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if isinstance(value, str) and (args[0] is str or typing.get_origin(args[0]) is typing.Literal):
        # One word, or several as a shell leaves them: test, [train,test].
        bare = re.fullmatch(r"\[([\w./:-]+(?:, *[\w./:-]+)*)\]", value)
        value = re.split(", *", bare[1]) if bare else [value]
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise UserError(f"{path} = {value!r}: expected a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(convert(args[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if len(value) != len(args):
        raise UserError(f"{path} = {value!r}: expected {len(args)} values, received {len(value)}")
    return tuple(convert(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(args, value, strict=True)))


def _convert_mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{path} = {value!r}: expected keys and values")
    return {str(key): _json(plain(item), _join(path, key)) for key, item in value.items()}


def _json(value: Any, path: str) -> Any:
    """The plain value itself where JSON has a form for all of it; such a value survives in a file and has a hash."""
    if isinstance(value, dict):
        return {key: _json(item, _join(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        return _convert_scalar(float, value, path)
    if value is not None and type(value) not in (bool, int, str):
        raise UserError(f"{path} = {value!r}: expected numbers, words, lists or keys and values")
    return value


def _convert_scalar(kind: Any, value: Any, path: str) -> Any:
    """Accept what is exactly the kind, and an integer for a float; a bool is never a number."""
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        # False for nan as well; `math.isfinite` fails on an integer that no float can hold.
        check(abs(value) <= sys.float_info.max, path, value, "a finite number")
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{path} = {value!r}: expected {_name(kind)}, received {type(value).__name__}")
    return value


def _name(kind: Any) -> str:
    if kind is type(None):
        return "None"
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    names = {int: "an integer", float: "a number", bool: "True or False", str: "a word"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))

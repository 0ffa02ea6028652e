"""Fields of runs as users write them: flattening, short names, and comparisons such as `config.seed>=3`."""

from __future__ import annotations

import ast
import difflib
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from framework.errors import UserError

_OPERATORS = {"=": "$eq", "==": "$eq", "!=": "$ne", ">=": "$gte", "<=": "$lte", ">": "$gt", "<": "$lt", "~": "$regex"}
_CONDITION = re.compile(r"^\s*([^=!<>~\s]+)\s*(==|!=|>=|<=|=|>|<|~)\s*(.*?)\s*$", re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted names.

    Example:
        >>> flatten({"a": {"b": 1}, "c": []})
        {'a.b': 1, 'c': []}
    """
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def resolve(name: str, known: Iterable[str]) -> str:
    """The full name of a field that was given whole or by its end (`accuracy`, `student.accuracy`).

    Raises:
        UserError: no field, or several, are called so.
    """
    names = set(known)
    if name in names:
        return name
    ends = sorted(full for full in names if full.endswith(f".{name}"))
    if len(ends) > 1 and len(configured := [full for full in ends if full == f"config.{name}"]) == 1:
        return configured[0]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UserError(f"field {name!r} could be {', '.join(ends)}")
    last_parts = {full.rpartition(".")[2]: full for full in sorted(names)}
    match = difflib.get_close_matches(name, [*names, *last_parts], n=1, cutoff=0.5)
    hint = f"did you mean {last_parts.get(match[0], match[0])!r}? " if match else ""
    raise UserError(f"no run has a field {name!r}; {hint}allowed: {textwrap.shorten(', '.join(sorted(names)), 600)}")


def literal(text: str) -> Any:
    """A value as it is written in Python or JSON; anything else is a text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parse_condition(text: str) -> tuple[str, str, Any]:
    """Split `name>=value` into the name, MongoDB's operator and the value.

    Raises:
        UserError: there is no comparison in it.
    """
    match = _CONDITION.match(text)
    if match is None:
        raise UserError(f"{text!r} is no condition; allowed: NAME=VALUE, with = != > >= < <= or ~ (regular expression)")
    name, operator, value = match.groups()
    if operator == "~":
        return name, "$regex", _pattern(value)
    return name, _OPERATORS[operator], literal(value)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise UserError(f"{text!r} is no regular expression: {error}") from None
    return text


def conditions(where: Iterable[str] | Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """MongoDB's filter for conditions as texts, or for a mapping of fields to values.

    Raises:
        UserError: a field that no run has, or no condition.
    """
    names = set(known)
    if isinstance(where, Mapping):
        parts = [(name, "$eq", value) for name, value in where.items()]
    else:
        parts = [parse_condition(text) for text in where]
    # `id` is what tables call Sacred's `_id`.
    clauses = [{_stored(resolve(name, names)): {operator: value}} for name, operator, value in parts]
    return {"$and": clauses} if clauses else {}


def _stored(name: str) -> str:
    return "_id" if name == "id" else name

"""Fields of runs as users write them: flattening, short names, and comparisons such as `config.seed>=3`."""

from __future__ import annotations

import ast
import difflib
import re
import textwrap
from collections.abc import Iterable, Mapping
from operator import eq, ge, gt, le, lt
from typing import Any

from framework.errors import UserError

_OPERATORS = {"=": "$eq", "==": "$eq", "!=": "$ne", ">=": "$gte", "<=": "$lte", ">": "$gt", "<": "$lt"}
_COMPARISONS = {"$eq": eq, "$gte": ge, "$lte": le, "$gt": gt, "$lt": lt}
# Of several fields that end alike, one in these parts is meant: what was asked for, and then how the student did.
_FIRST = ("config.", "result.test.student.")
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
    for first in _FIRST if len(ends) > 1 else ():
        meant = [full for full in ends if full == f"{first}{name}"] or [full for full in ends if full.startswith(first)]
        if len(meant) == 1:
            return meant[0]
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
        raise UserError(
            f"{text!r} is not a condition; allowed: NAME=VALUE, with = != > >= < <= or ~ (regular expression)"
        )
    name, operator, value = match.groups()
    if operator != "~":
        return name, _OPERATORS[operator], literal(value)
    try:
        re.compile(value)
    except re.error as error:
        raise UserError(f"{value!r} is not a valid regular expression: {error}") from None
    return name, "$regex", value


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


def matches(document: Mapping[str, Any], clauses: Mapping[str, Any]) -> bool:
    """Whether a document meets a filter of `conditions`, as MongoDB would say.

    Example:
        >>> matches({"seed": 3, "config": {"sizes": [8, 16]}}, {"$and": [{"seed": {"$gte": 2}}]})
        True
    """
    return all(
        _compared(_found(document, name), operator, wanted)
        for clause in clauses.get("$and", ())
        for name, test in clause.items()
        for operator, wanted in test.items()
    )


def _found(document: Any, name: str) -> Any:
    """A field by its dotted name; a key may have dots itself. None where there is none."""
    if not isinstance(document, Mapping):
        return None
    if name in document:
        return document[name]
    heads = [key for key in document if name.startswith(f"{key}.")]
    return next((found for key in heads if (found := _found(document[key], name[len(key) + 1 :])) is not None), None)


def _compared(value: Any, operator: str, wanted: Any) -> bool:
    """A list meets a condition where it is meant itself, or one of its items."""
    values = [value, *value] if isinstance(value, list) else [value]
    if operator == "$ne":
        return not any(_kind(each) == _kind(wanted) and each == wanted for each in values)
    return any(_one(each, operator, wanted) for each in values)


def _one(value: Any, operator: str, wanted: Any) -> bool:
    if operator == "$regex":
        return isinstance(value, str) and re.search(wanted, value) is not None
    if _kind(value) != _kind(wanted):
        return False
    if value is None:
        return operator in ("$eq", "$gte", "$lte")
    return bool(_COMPARISONS[operator](value, wanted))


def _kind(value: Any) -> type:
    """Values of different kinds never meet in MongoDB: true is not 1, and 1 is 1.0."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _stored(name: str) -> str:
    return "_id" if name == "id" else name

"""Every key that a command line can set, with its meaning: from the docstrings of the spec and of the run options.

    python -m experiments.command.keys > docs/options.md

`--help` prints the same. Nothing here imports keras.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from experiments.command.streams import lasting
from experiments.distillation.options import RunOptions
from framework.spec import DistillSpec, ExtensionSpec, TeacherSpec
from framework.spec.validation import plain

_KINDS = {bool: "`True`, `False`", int: "integer", float: "number", str: "word", dict: "keys and values"} | {
    TeacherSpec: "teacher",
    ExtensionSpec: "extension",
}
_COLUMN = 32  # where the meanings begin in `--help`
_HEAD = """\
# Options

<!-- Written by `python -m experiments.command.keys > docs/options.md` from docstrings: of the spec and RunOptions. -->

    python -m experiments.run with digits optimizer.lr=0.01 views.area=[0.3,1.0] teacher.min_accuracy=0.9

Everything that a run depends on is set by `KEY=VALUE` after `with`; `None` (or `null`) is a value too. Unknown keys,
other types and values out of range are errors that name the nearest match. The defaults below are the spec's own: a
recipe sets some of them, and `python -m experiments.run print_config with RECIPE` shows what it makes of all; without
one the recipe `glyphs` is taken. In Python and in JSON the same keys are nested: `{"optimizer": {"lr": 0.01}}`.

Short forms: `data=X`, `student=X`, `teacher=X`, `optimizer=X` and `schedule=X` set the name, `loss=X` the distance,
`duration=N` the steps, `teachers=X` the only teacher; `backend=tf` and `backend=pytorch` are known. Quote what has
spaces or brackets: `"student.options.widths=[8, 16]"`. Your own files and functions are found from the working folder.
"""


@dataclass(frozen=True)
class Key:
    """One key of a command line.

    Attributes:
        name: with its part, `optimizer.lr`.
        kind: the type, or the values that are allowed.
    """

    name: str
    kind: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Part:
    """Keys that belong together.

    Attributes:
        name: how they begin, `optimizer`; another word where they have no common beginning.
    """

    name: str
    summary: str
    keys: tuple[Key, ...]


def parts(config: Mapping[str, Any] | None = None) -> list[Part]:
    """All keys by part: the spec's own first, then those of its parts, then how a run is run.

    The values of a complete config are taken as the defaults; None takes the classes' own.
    """
    config = DistillSpec().to_dict() | plain(RunOptions()) if config is None else config
    kinds = typing.get_type_hints(DistillSpec)
    inner = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}
    own = [each.name for each in fields(DistillSpec) if each.name not in inner]
    named = {**config, "teachers": [teacher["name"] for teacher in config["teachers"]]}
    made = [_part("distillation", "", DistillSpec, named, own)]
    for name, kind in inner.items():
        made.append(_part(name, f"{name}.", kind, config[name]))
        if name == "student":
            teacher = (config["teachers"] or [plain(TeacherSpec())])[0]
            made.append(_part("teacher", "teacher.", TeacherSpec, teacher))
    return [*made, _part("run", "", RunOptions, config)]


def _part(name: str, prefix: str, kind: Any, values: Mapping[str, Any], only: list[str] | None = None) -> Part:
    hints, known = typing.get_type_hints(kind), meanings(kind)
    names = [each.name for each in fields(kind) if only is None or each.name in only]
    keys = tuple(Key(prefix + each, allowed(hints[each]), values[each], known.get(each, "")) for each in names)
    summary = inspect.cleandoc(kind.__doc__).partition("\n\n")[0]
    return Part(name, " ".join(summary.split()), keys)


def meanings(kind: type) -> dict[str, str]:
    """What the `Attributes:` section of a class, and of the classes that it extends, says of each one."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")
        for names, text in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def allowed(hint: Any) -> str:
    """A type in the words of a user.

    >>> allowed(int | None), allowed(tuple[float, float]), allowed(typing.Literal["a", "b"])
    ('integer, `None`', 'list of 2 numbers', '`a`, `b`')
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return ", ".join("`None`" if each is types.NoneType else allowed(each) for each in args)
    if origin is typing.Literal:
        return ", ".join(f"`{each}`" for each in args)
    if origin is tuple:
        return f"list of {'' if args[-1] is Ellipsis else f'{len(args)} '}{allowed(args[0])}s"
    return _KINDS[origin or hint]


def shown(value: Any) -> str:
    """A default as it is written on a command line."""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def page() -> str:
    """The text of docs/options.md."""
    lines = [_HEAD]
    for part in parts():
        lines += [f"## {part.name}", "", part.summary, "", "| key | values | default | meaning |", "|---|---|---|---|"]
        rows = [(f"`{key.name}`", key.kind, f"`{shown(key.default)}`", key.meaning) for key in part.keys]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def listing(config: Mapping[str, Any], columns: int, words: Iterable[str] = ()) -> str:
    """The keys for `--help`, each with its value in a config and its meaning.

    Words are names of parts or keys, `optimizer` or `lr`: the listing is of those alone if any is meant.
    """
    chosen = meant(words)
    blocks = []
    for part in parts(config):
        entries = [_entry(key, columns) for key in part.keys if not chosen or key.name in chosen]
        if entries:
            blocks.append(
                "\n".join([textwrap.fill(f"{part.name}: {part.summary}".replace("`", ""), columns), *entries])
            )
    return "\n\n".join(blocks)


def meant(words: Iterable[str]) -> set[str]:
    """The keys that words speak of, `optimizer.lr` for `optimizer`, `lr` and itself."""
    names = [key.name for part in parts() for key in part.keys]
    return {name for name in names if any(f".{word}." in f".{name}." for word in words)}


def _entry(key: Key, columns: int) -> str:
    """`  optimizer.lr=0.003          the learning rate ...`, on a line of its own where it is too long for that."""
    head = f"  {key.name}={shown(key.default)}"
    choice = f" [{key.kind}]" if key.kind.startswith("`") and not isinstance(key.default, bool) else ""
    text = f"{key.meaning}{choice}".replace("`", "")
    indent = " " * _COLUMN
    body = textwrap.fill(text, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return f"{head}\n{body}" if len(head) >= _COLUMN - 1 else head.ljust(_COLUMN) + body[_COLUMN:]


if __name__ == "__main__":
    with lasting():
        print(page(), end="")

"""From the words of a command line to a checked spec and its run options.

The short forms people write are normalised here, before Sacred sees them: `data=X` is `data.name=X`, `loss=X` is
`loss.distance=X`, `duration=100` is `duration.total_steps=100`, `teacher.x=y` changes the only teacher,
`duration.total_epochs=3` takes the place of any other duration, `teaching=labels` has no teacher. A teacher from a
package gets views of the size that it was trained on, unless a size is written.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import difflib
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import backends
from experiments.command import config_files
from experiments.command.suggestions import advice, check_key, is_known, key_for
from experiments.distillation.options import RunOptions
from experiments.distillation.packaged import PACKAGED
from experiments.recipes import DEFAULT, RECIPES
from framework.errors import UserError, near, one_line
from framework.spec import DataSpec, DistillSpec, DurationSpec, ModelSpec, TeacherSpec
from framework.spec.renamed import current
from framework.spec.validation import build, plain

Config = dict[str, Any]
_OPTION_NAMES = [field.name for field in dataclasses.fields(RunOptions)]
# A list of bare words, as people write it: [train,test].
_WORDS = re.compile(r"\[([\w./:+-]+(?:, *[\w./:+-]+)*)\]")
# The key that a part's value alone is the value of: `optimizer=sgd`, `loss=kl`, `duration=100`.
_NAMED = {
    **dict.fromkeys(("data", "student", "teacher", "optimizer", "schedule"), "name"),
    "loss": "distance",
    "duration": "total_steps",
}


def defaults(recipe: str | None = DEFAULT) -> Config:
    """The complete config of a recipe with the run options, as plain values."""
    base = DistillSpec().to_dict() | plain(RunOptions())
    return base if recipe is None else apply(base, RECIPES[recipe])


def recipe_spec(name: str) -> DistillSpec:
    """The spec of a recipe.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}: {near(name, RECIPES)}")
    return spec_and_options(defaults(name))[0]


def read(words: Sequence[str], recipe: str = DEFAULT, stored: Config | None = None) -> tuple[Config, list[str], Config]:
    """Read the words after `with`.

    Args:
        words: `key=value`, names of recipes, and files of configs.
        recipe: what is taken where nothing else says all.
        stored: the complete config of another run, to be resumed or done again, instead of a recipe's.

    Returns:
        The complete config, the recipes and files named, and the other words as nested values.

    Raises:
        UserError: an unknown key or recipe, a file without a config, another type, a value out of range.
    """
    _refuse_cut(words)
    named = [word for word in words if "=" not in word]
    if stored is not None and named:
        raise UserError(f"the run's stored spec is used: drop {named[0]!r}")
    config = stored if stored is not None else _named(named, recipe)
    changes: Config = {}
    for word in words:
        if "=" in word:
            key, value = _pair(word)
            check_key(key)
            _put(changes, key, value)
    config = apply(config, changes)
    if stored is None and not any(map(config_files.is_file, named)):
        config = _sized(config, changes)
    spec_and_options(config)
    config_files.refuse_hidden(config)
    return config, named, changes


def _sized(config: Config, changes: Mapping[str, Any]) -> Config:
    """The config with views of their own size for teachers from a package, where the words name no size."""
    views, teachers, words = config["views"], config["teachers"], changes.get("views", {})
    names = [each.get("name") for each in teachers if isinstance(each, Mapping)] if isinstance(teachers, list) else []
    if not PACKAGED.keys() & {*names} or not isinstance(words, Mapping) or {"size", "teacher_size"} & {*words}:
        return config
    sizes = [PACKAGED[name].image_size if name in PACKAGED else views["size"] for name in names]
    return config | {"views": views | {"teacher_size": sizes[0] if len({*sizes}) == 1 else sizes}}


def _named(names: Sequence[str], recipe: str) -> Config:
    """Recipes and files, one after the other; a file that says only some keys changes what is there."""
    config: Config | None = None
    for name in names:
        if name in RECIPES or not config_files.is_file(name):
            _check_recipe(name)
            config = apply(config or defaults(None), RECIPES[name])
            continue
        found = config_files.load(name)
        base = defaults(None) if config_files.is_whole(found) else config or defaults(recipe)
        try:
            config = apply(base, found)
            spec_and_options(config)
        except UserError as error:
            raise UserError(f"config file {name!r}: {error}") from error
    return config or defaults(recipe)


def _check_recipe(name: str) -> None:
    if name in RECIPES:
        return
    if name == "with":
        raise UserError("'with' is written once, before all recipes and keys")
    close = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.5)
    if (is_known(name) or not close) and (key := key_for(name)):
        raise UserError(f"{name!r} has no value: write {key}=VALUE")
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UserError(f"no recipe {name!r}: {hint}--help lists them; values are written key=value")


def _refuse_cut(words: Sequence[str]) -> None:
    """Refuse what the shell has cut at a space, `widths=[8,` and `16]`, and commas between keys."""
    for place, word in enumerate(words):
        rest = words[place + 1 :]
        if word == "=" and place > 0 and rest:
            raise UserError(f"no spaces around '=': write {words[place - 1]}={rest[0]}")
        key = word.partition("=")[0]
        if "=" in word and "," in key:
            raise UserError(f"{key!r} is not a key: no comma between keys, {word.replace(',', ' ', key.count(','))}")
        until = next((end for end in range(len(rest) + 1) if not _is_open(" ".join([word, *rest[:end]]))), 0)
        if "=" in word and until:
            raise UserError(f"{word!r} is cut at a space: quote it, {' '.join([word, *rest[:until]])!r}")
        if "=" in word and word.endswith(",") and rest:
            meant = f"no comma between keys, {word[:-1]} {rest[0]}" if "=" in rest[0] else f"no space, {word + rest[0]}"
            raise UserError(f"{word!r} ends in a comma: write {meant}")


def _is_open(text: str) -> bool:
    """Whether more brackets are opened than closed."""
    return any(text.count(left) > text.count(right) for left, right in ("[]", "{}", "()"))


def spec_and_options(config: Mapping[str, Any]) -> tuple[DistillSpec, RunOptions]:
    """The checked spec and run options of a complete config.

    Raises:
        UserError: as in `DistillSpec.from_dict`.
    """
    known = [field.name for field in dataclasses.fields(DistillSpec)]
    for key in config:
        if key not in known and key not in _OPTION_NAMES:
            raise UserError(f"unknown key {key!r}: {advice(key)}")
    try:
        spec = DistillSpec.from_dict({key: config[key] for key in config if key in known})
    except UserError as error:
        teachers = config.get("teachers")
        if not isinstance(teachers, list) or len(teachers) != 1:
            raise
        # As it is typed.
        raise UserError(str(error).replace("teachers[0].", "teacher.")) from error
    return spec, build(RunOptions, {key: config[key] for key in config if key in _OPTION_NAMES})


def normalise(changes: Mapping[str, Any], config: Mapping[str, Any]) -> Config:
    """Write the short forms out; `config` is what the changes are made to."""
    result = copy.deepcopy(dict(current(changes, config["loss"]["options"])))
    for key, inner in _NAMED.items():
        if _is_short(key, result.get(key)):
            result[key] = {inner: result[key]}
    if isinstance(result.get("backend"), str):
        result["backend"] = backends.canonical(result["backend"])
    if isinstance(result.get("duration"), Mapping):
        # The three exclude each other: what is written takes the place of what was there.
        result["duration"] = {field.name: None for field in dataclasses.fields(DurationSpec)} | result["duration"]
    if result.get("teaching") == "labels":
        result.setdefault("teachers", [])
        loss = result.setdefault("loss", {})
        if isinstance(loss, dict):
            loss.setdefault("task_weight", 1.0)
    if isinstance(result.get("teachers"), str):
        result["teachers"] = [result["teachers"]]
    if isinstance(result.get("teachers"), (list, tuple)):
        result["teachers"] = [_teacher(each) for each in result["teachers"]]
    if "teacher" in result:
        result["teachers"] = _only_teacher(result.pop("teacher"), result.get("teachers", config["teachers"]))
    return result


def merge(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """The config with the changes: dicts are merged key by key, all else is replaced."""
    result = dict(config)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return copy.deepcopy(result)


def apply(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """The config with changes made to it, short forms written out.

    Another student or distance drops the former's options, other data the former's splits and columns.
    """
    changes = normalise(changes, config)
    for part, plainest in (("student", ModelSpec()), ("data", DataSpec())):
        change = changes.get(part)
        if isinstance(change, Mapping) and change.get("name", config[part]["name"]) != config[part]["name"]:
            config = {**config, part: plain(plainest)}
    loss = changes.get("loss")
    if isinstance(loss, Mapping) and loss.get("distance", config["loss"]["distance"]) != config["loss"]["distance"]:
        config = {**config, "loss": config["loss"] | {"options": {}}}
    return merge(config, changes)


def _teacher(value: Any) -> Any:
    """A teacher with all its keys, from a name or some of them; what is wrong is left for the spec to say."""
    value = {"name": value} if isinstance(value, str) else value
    return plain(TeacherSpec()) | dict(value) if isinstance(value, Mapping) else value


def _only_teacher(change: Any, teachers: Any) -> Any:
    if not isinstance(teachers, list) or not all(isinstance(each, Mapping) for each in teachers):
        raise UserError(f"teachers = {teachers!r}: expected a list of names, or of keys and values")
    if len(teachers) > 1:
        raise UserError(f"teacher= needs exactly one teacher, there are {len(teachers)}: set teachers=[...]")
    if not isinstance(change, Mapping):
        raise UserError(f"teacher = {change!r}: expected a name, or teacher.key=value")
    before = teachers[0] if teachers else plain(TeacherSpec())
    # Another teacher is not the one before with another name: its options and weights are its own.
    other = change.get("name", before.get("name")) != before.get("name")
    return [merge(plain(TeacherSpec()) if other else before, change)]


def _is_short(part: str, value: Any) -> bool:
    """Whether a value stands for one key of its part: a name, or a number for the duration."""
    if part == "duration":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return part in _NAMED and isinstance(value, str)


def _pair(word: str) -> tuple[str, Any]:
    key, _, text = word.partition("=")
    if key and not text.strip():  # as `data=$PHOTOS` is where there is no such variable
        raise UserError(f"{word!r} has no value: write {key}=VALUE, or {key}=none for none")
    value = value_of(text)
    if isinstance(value, str) and text[0] in "[{(" and (text[-1] in "]})" or _is_open(text)):
        forms = "a list is written [8,16] or ['a b','c'], keys and values {'a':1}"
        raise UserError(f"{one_line(word, 80)!r} can't be read: {forms}; quote the whole word")
    return key.strip(), value


def value_of(text: str) -> Any:
    """The value that a text stands for, as plain values; what is no literal is itself."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what looks like Python and is a path, say
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        bare = _WORDS.fullmatch(text)
        value = {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)
        value = [value_of(each.strip()) for each in bare[1].split(",")] if bare else value
    return plain(value)


def _put(changes: Config, key: str, value: Any) -> None:
    *path, last = key.split(".")
    place = changes
    for part in path:
        inner = place.setdefault(part, {})
        if place is changes and part != "duration" and _is_short(part, inner):
            inner = place[part] = {_NAMED[part]: inner}
        if not isinstance(inner, dict):
            raise UserError(f"{key!r} and {part}={inner!r} contradict each other")
        place = inner
    if not path and isinstance(place.get(last), dict) and last != "duration" and _is_short(last, value):
        place[last][_NAMED[last]] = value
    else:
        place[last] = value

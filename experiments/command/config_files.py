"""Files of a config after `with`: what `save_config` or a run has stored, as JSON or YAML."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.tracking.scrub import HIDDEN
from framework.errors import UserError
from framework.spec import DistillSpec

_FORMS = (".json", ".yaml", ".yml")
# What a run that was resumed has stored about that: its config makes the whole run again.
_UNRESUMED = {"resume": None, "resume_anyway": False, "extend": None, "extend_level": None}


def is_file(word: str) -> bool:
    """Whether a word after `with` means a file, by its suffix or because there is one."""
    return Path(word).suffix.lower() in (*_FORMS, ".pickle") or os.path.isfile(os.path.expanduser(word))


def load(word: str) -> dict[str, Any]:
    """The values in a file, nested; of a whole run's document its config.

    Raises:
        UserError: there is no such file, or no config in it.
    """
    path = Path(os.path.expanduser(word))
    if path.suffix.lower() not in _FORMS:
        why = "a pickle can run any code: " if path.suffix.lower() == ".pickle" else ""
        raise UserError(f"config file {word!r}: {why}allowed: {', '.join(_FORMS)}")
    try:
        found = _parsed(path)
    except OSError as error:
        raise UserError(f"config file {word!r} can't be read: {error.strerror} ({path.absolute()})") from None
    except ValueError as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(f"config file {word!r} is not valid {path.suffix[1:].upper()}: {told}") from None
    if isinstance(found, Mapping) and isinstance(found.get("config"), Mapping):
        found = found["config"]
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise UserError(f"config file {word!r} holds {type(found).__name__}: expected keys and values")
    return for_another_run(found)


def take_filename(command: str | None, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file that `save_config with config_filename=FILE` writes, and the other words.

    Raises:
        UserError: no form that can be read again, or no folder for it.
    """
    key = "config_filename="
    if command != "save_config":
        return None, list(words)
    name = next((word.removeprefix(key) for word in reversed(words) if word.startswith(key)), "config.json")
    path = Path(name)
    if path.suffix.lower() not in _FORMS:
        raise UserError(f"{key}{name}: allowed: {', '.join(_FORMS)}")
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UserError(f"{key}{name}: {path.absolute()} can't be written")
    return name, [word for word in words if not word.startswith(key)]


def for_another_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config without what says that it was resumed."""
    return {key: _UNRESUMED.get(key, value) for key, value in config.items()}


def is_whole(config: Mapping[str, Any]) -> bool:
    """Whether a config says all of a spec (but for keys that came later), so that no recipe is needed below it."""
    asked = {field.name for field in dataclasses.fields(DistillSpec)} - {"init_seed", "sources"}
    return asked <= set(config)


def refuse_hidden(config: Any, key: str = "") -> None:
    """Refuse values from which a password was taken when they were stored.

    Raises:
        UserError: it names the key.
    """
    if isinstance(config, Mapping):
        for name, value in config.items():
            refuse_hidden(value, f"{key}.{name}".lstrip("."))
    elif isinstance(config, list):
        for value in config:
            refuse_hidden(value, key)
    elif isinstance(config, str) and HIDDEN in config:
        key = key.replace("teachers.", "teacher.")
        raise UserError(f"{key} = {config!r}: the password in it was not stored; say it again, {key}=VALUE")


def _parsed(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix.lower() == ".json":
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from None

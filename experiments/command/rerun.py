"""A run is done again from what is stored of it: `python -m experiments.runs rerun 3 with seed=1`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.command.config_files import for_another_run
from experiments.command.launch import Program, Stored
from experiments.distillation.telling import tell
from experiments.tracking import code, queries
from experiments.tracking.source import Document, Runs
from framework.errors import UserError, few
from framework.spec import GIVEN

# Of differences, so many are named.
_FEW = 6


def stored(runs: Runs, name: str, root: Path, words: Sequence[str]) -> Stored:
    """What is needed to do a run again; how its sources differ from what is here is told.

    Args:
        name: its number, its uid, or a beginning of it.
        words: what was written after the name.

    Raises:
        UserError: there is no such run, it has no config of ours, or the words are no changes.
    """
    document = queries.find_run(runs, name)
    _check(document, words)
    tell_differences(runs, document)
    line = ["python", "-m", "experiments.runs", "rerun", name, *words]
    made_by = str((document.get("experiment") or {}).get("name"))
    uid = str(document.get("uid") or document["_id"])
    return Stored(uid, made_by, for_another_run(document["config"]), root, line)


def program(made_by: str) -> Program:
    """The command for a run, by the name of the experiment."""
    from experiments import run, teacher

    return teacher.PROGRAM if made_by == "teacher" else run.PROGRAM


def _check(document: Document, words: Sequence[str]) -> None:
    config = document.get("config") or {}
    if not {"data", "student", "teaching"} <= set(config):
        raise UserError(f"run {document['_id']} has no config of a distillation: it can't be run again")
    models = [config["student"], *(config.get("teachers") or [])]
    if any(isinstance(each, Mapping) and each.get("name") == GIVEN for each in models):
        raise UserError(f"run {document['_id']}: its models were handed over in Python, to experiments.distill(...)")
    wrong = [word for word in words[1:] if "=" not in word or word.startswith("resume=")]
    if words and (words[0] != "with" or not words[1:] or wrong):
        raise UserError(f"unexpected {(wrong or words)[0]!r}: write rerun ID with KEY=VALUE ...")


def tell_differences(runs: Runs, document: Document) -> None:
    """Say how the sources and packages that are here differ from a run's."""
    name, experiment = document["_id"], document.get("experiment") or {}
    try:
        captured = code.of(runs, document)
    except UserError as error:
        tell(str(error))
        return
    if told := code.summary(captured, code.here(document, captured), _FEW):
        tell(f"sources that differ from run {name}'s: {told}; runs sources {name} --diff here shows how")
    versions = _versions(experiment.get("dependencies") or ())
    if versions:
        tell(f"packages that differ from run {name}'s: {few(versions, _FEW, str)}")


def _versions(before: Iterable[str]) -> list[str]:
    """The packages whose version is another one here."""
    from sacred.dependencies import get_dependencies_from_pkg

    now = {each.name.lower(): each.version for each in get_dependencies_from_pkg({}, "")}
    pairs: list[Any] = [text.partition("==")[::2] for text in before]
    return [
        f"{name} {version} -> {now[name.lower()]}"
        for name, version in pairs
        if now.get(name.lower(), version) != version
    ]

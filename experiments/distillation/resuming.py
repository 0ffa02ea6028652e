"""Resuming a run: loading its newest checkpoint, and refusing what would make it another run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.distillation.distillation import Distillation
from experiments.distillation.lineage import CHECKPOINTS, Origin, beginning, last_status, lineage
from experiments.distillation.options import RunOptions
from framework.errors import UserError
from framework.files import stored
from framework.files.checkpoints import Checkpoints
from framework.spec import GIVEN, DistillSpec, ExtensionSpec, schedules
from framework.spec.schedules import EXTENDABLE
from framework.spec.validation import plain


def take_resume(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The name after `resume=`, and the other words of a command line.

    Raises:
        UserError: nothing follows it.
    """
    names = [word.partition("=")[2] for word in words if word.startswith("resume=")]
    if "" in names:
        raise UserError("'resume=' has no value: write resume=latest or resume=ID, or resume=none to begin anew")
    rest = [word for word in words if not word.startswith("resume=")]
    name = names[-1] if names else ""
    return (None if name.lower() in ("", "none", "null") else name), rest


def load(folder: Path) -> Origin:
    """The newest checkpoint of a run that verifies; that of the run before it where it has none of its own.

    Raises:
        UserError: there is none.
    """
    chain = tuple(lineage(folder))
    notes: list[str] = []
    for place, each in enumerate(chain):
        try:
            state, metadata, problems = Checkpoints(each / CHECKPOINTS).load()
            told = [Path(path) for segment in chain for path in beginning(segment).get("passed_over", ())]
            passed_over = tuple(dict.fromkeys([*chain[:place], *told]))
            return Origin(each, chain[place:], state, metadata, (*notes, *problems), passed_over)
        except FileNotFoundError as error:
            notes.append(str(error))
    raise UserError(f"cannot resume run {folder.name}: {'; '.join(notes)}")


def is_finished(origin: Origin, spec: DistillSpec) -> bool:
    """Whether the run has nothing left to do for this spec: it came to its end, and its student is stored."""
    same = spec.duration == origin.spec.duration
    return same and last_status(origin.folder) == "COMPLETED" and stored.is_stored(origin.folder / "student")


def check_words(origin: Origin, spec: DistillSpec, options: RunOptions) -> None:
    """Refuse words that would make it another run, before anything is written down.

    Raises:
        UserError: a key of the spec that may not change; a run that only Python can resume.
    """
    if GIVEN in (origin.spec.student.name, *(each.name for each in origin.spec.teachers)):
        raise UserError(
            f"cannot resume run {origin.folder.name} here: its models were handed over in Python, to "
            "experiments.distill(...), which can"
        )
    changes = _changed_keys(origin.spec, spec)
    if options.extend is None and _is_longer(origin, spec):
        changes.append(_jump(origin, spec))
    _refuse(origin, [] if options.resume_anyway else changes)


def extended(spec: DistillSpec, options: RunOptions, origin: Origin) -> DistillSpec:
    """The spec, which has the new duration, with a schedule that says what the learning rate does from here on.

    Raises:
        UserError: the duration is what it was, or the learning rate to continue with is 0.
    """
    if options.extend is None:
        return spec
    made = origin.spec.schedule.extensions
    if spec.duration != origin.spec.duration:
        made = (*made, _extension(options, origin))
    # A job that is started again with the same words has its extension already.
    elif not made:
        raise UserError(f"extend = {options.extend!r}: run {origin.folder.name} is as long as before; set duration too")
    return replace(spec, schedule=replace(spec.schedule, extensions=made))


def _extension(options: RunOptions, origin: Origin) -> ExtensionSpec:
    assert options.extend is not None
    before, level = int(origin.metadata["total_steps"]), 1.0
    if options.extend != "restart":
        level = options.extend_level or schedules.make(origin.spec.schedule, before)(origin.step)
    if level <= 0:
        raise UserError(
            f"extend = {options.extend!r}: the learning rate is 0 at step {origin.step}; take extend=restart, or say "
            "where to begin, extend_level=0.1 (of the peak)"
        )
    return ExtensionSpec(at=origin.step, before=before, how=options.extend, level=level)


def go_on(ready: Distillation, origin: Origin, anyway: bool = False) -> list[str]:
    """Give a prepared distillation the state of a run.

    Args:
        ready: prepared for a spec that is the run's, but for what may change.
        anyway: take it whatever has changed.

    Returns:
        What has changed and was taken all the same, a line each.

    Raises:
        UserError: something that may not change, and `anyway` is False; or a state that doesn't fit the student.
    """
    changes = list(_changes(ready, origin))
    if ready.total_steps < origin.step:
        raise UserError(
            f"duration gives {ready.total_steps} steps, but run {origin.folder.name} has done {origin.step} already"
        )
    _refuse(origin, [] if anyway else changes)
    ready.trainer.restore(origin.state)
    ready.origin = replace(origin, state={"step": origin.state["step"]})
    return changes


def _refuse(origin: Origin, changes: Sequence[str]) -> None:
    if changes:
        allowed = "only duration (with extend=), backend, device and cadence may change"
        anyway = "resume_anyway=True resumes all the same, and writes it down"
        raise UserError(f"resume = {origin.folder.name!r}: {'; '.join(changes)}; {allowed}; {anyway}")


def _changes(ready: Distillation, origin: Origin) -> Iterator[str]:
    """A line on each thing that is not what it was."""
    before, now = origin.metadata, ready.environment
    yield from _changed_keys(origin.spec, ready.spec)
    if before["data_fingerprint"] != now["data_fingerprint"]:
        yield f"the data's fingerprint was {before['data_fingerprint']} and is {now['data_fingerprint']}"
    hashes = [[each["sha256"][:16] for each in part["teachers"]] for part in (before, now)]
    if hashes[0] != hashes[1]:
        yield f"the teacher's SHA-256 was {', '.join(hashes[0])} and is {', '.join(hashes[1])}"
    # Keras's name for what its dropout draws from.
    if before["backend"] != now["backend"] and any("seed_generator" in name for name in origin.state):
        yield (
            f"the student draws random numbers (dropout), which {now['backend']} generates differently from "
            f"{before['backend']}"
        )
    extended = ready.spec.schedule != origin.spec.schedule
    if before["total_steps"] != ready.total_steps and not extended and ready.spec.schedule.name not in EXTENDABLE:
        yield _jump(origin, ready.spec)


def _is_longer(origin: Origin, spec: DistillSpec) -> bool:
    """Whether another duration would bend the schedule; where the data must be counted first, it is not said yet."""
    before, now = (each.duration for each in (origin.spec, spec))
    units = [[name for name, value in plain(each).items() if value is not None] for each in (before, now)]
    return units[0] == units[1] and before != now and spec.schedule.name not in EXTENDABLE


def _jump(origin: Origin, spec: DistillSpec) -> str:
    [length] = [f"{name}={value:g}" for name, value in plain(spec.duration).items() if value is not None]
    return (
        f"duration: schedule {spec.schedule.name!r} was made for {origin.metadata['total_steps']} steps, and the "
        f"learning rate would jump with {length}; add extend=restart (the whole schedule again over the steps that "
        "are left), extend=cosine (from the present learning rate to 0) or extend=constant (keeps the present one)"
    )


def _changed_keys(before: DistillSpec, now: DistillSpec) -> list[str]:
    """The keys of the fingerprint that differ, but for the duration's and what makes the schedule longer."""
    flats = [dict(_flat(spec.determining())) for spec in (before, now)]
    names = sorted(name for name in {**flats[0], **flats[1]} if flats[0].get(name) != flats[1].get(name))
    # What was in a student that is handed over doesn't matter: the state takes its place.
    free = ["duration.", *(["student.options."] if before.student.name == GIVEN else [])]
    past = before.schedule.extensions
    free += ["schedule.extensions"] if now.schedule.extensions[: len(past)] == past else []
    return [
        f"{name} was {flats[0].get(name)!r} and is {flats[1].get(name)!r}"
        for name in names
        if not name.startswith(tuple(free))
    ]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{name}[{place}]")
    else:
        yield name, value

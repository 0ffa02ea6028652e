"""Sacred's queue: a run is stored as QUEUED, and `python -m experiments.worker` runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacred import Experiment
from sacred.observers import RunObserver

from experiments import config as configs
from experiments.command import sacred_run
from experiments.command.exit import DONE
from experiments.command.options import ID, run_id
from experiments.distillation import sources
from experiments.tracking import claims, files
from experiments.tracking.folders import RUNS
from experiments.tracking.mongod import Destination, open_database
from experiments.tracking.scrub import scrub
from experiments.tracking.values import Mongo, plain
from framework.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where a run is queued, and by what.

    Attributes:
        module: the command that a worker does it with, `"experiments.run"`.
        line: the command line, stored with the student.
        uri: where the database is, as in `open_database`.
        more: what a worker must know beside.
    """

    module: str
    line: str
    uri: str | None
    root: Path
    more: Mapping[str, Any] = field(default_factory=dict)


class Queue(RunObserver):  # type: ignore[misc, unused-ignore]
    """Sacred's observer that stores a queued run under the id that is wanted; None takes the next number."""

    def __init__(self, database: Mongo, place: Place, wanted: int | str | None, known: Mapping[str, Any]) -> None:
        self._database, self._place, self._wanted, self._known = database, place, wanted, known

    def queued_event(
        self,
        ex_info: Mapping[str, Any],
        command: str,
        host_info: Mapping[str, Any],
        config: Mapping[str, Any],
        meta_info: Mapping[str, Any],
        **_: Any,
    ) -> int | str:
        """Write it down; returns the run's number."""
        experiment = scrub(plain({**ex_info, **self._known}))
        uploads = files.Uploads(self._database, self._place.root / RUNS / "queued")
        stored = uploads.sources(experiment["base_dir"], experiment.get("sources", ()))
        fields = scrub(plain({"command": command, "host": dict(host_info), "config": config, "meta": meta_info}))
        fields["experiment"] = {**experiment, "sources": stored}
        queue = {
            "module": self._place.module,
            "line": self._place.line,
            "cwd": os.getcwd(),
            "priority": float(meta_info.get("priority") or 0),
            **self._place.more,
        }
        return claims.put(self._database, fields, queue, self._wanted)


def run(
    experiment: Experiment,
    config: configs.Config,
    flags: Mapping[str, Any],
    meta: Mapping[str, Any],
    place: Place,
) -> int:
    """Queue a run that was checked, and say how it is run; returns the exit code.

    Args:
        flags: Sacred's own options.
        meta: the recipes and changes that made the config.

    Raises:
        UserError: there is no database, or a worker couldn't have all of the config.
    """
    refuse_secrets([config])
    with open_database(place.uri, False, place.root, required=True) as destination:
        number = put(experiment, config, flags, meta, place, destination)
        print(f"queued as run {number} in {destination.describe()}: {worker_command(destination)} runs it")
    return DONE


def put(
    experiment: Experiment,
    config: configs.Config,
    flags: Mapping[str, Any],
    meta: Mapping[str, Any],
    place: Place,
    destination: Destination,
) -> int | str:
    """Let Sacred queue a run; arguments as in `run`. Returns the run's number."""
    assert destination.database is not None
    wanted = run_id(flags[ID]) if flags.get(ID) is not None else None
    spec, _ = configs.spec_and_options(config)
    _, known = sacred_run.known(place.root / RUNS / "queued", sources.captured(spec))
    experiment.observers.append(Queue(destination.database, place, wanted, known))

    # Sacred marks the function that it calls, and stores its name.
    def main() -> None:
        raise AssertionError("a queued run is not run")

    experiment.main(main)
    stored = {**meta, "options": {**flags, "--queue": False, ID: None}}
    return experiment.run(options=sacred_run.for_sacred({**flags, ID: None}), meta_info=stored)._id  # type: ignore[no-any-return, unused-ignore]


def worker_command(destination: Destination) -> str:
    """The command that runs what is queued."""
    return f"python -m experiments.worker{f' {destination.flag}' if destination.flag else ''}"


def refuse_secrets(config: Sequence[configs.Config]) -> None:
    """Refuse what would not be stored as it is: passwords and signatures of addresses.

    Raises:
        UserError: it names the key.
    """
    for each in config:
        for key, value in each.items():
            if scrub(plain(value)) != plain(value):
                raise UserError(f"{key}: a password or a signature in it is not stored, and no worker would have it")

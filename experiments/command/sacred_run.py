"""A training as a Sacred run: the experiment, what Sacred calls, and what it hears of the end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sacred import SETTINGS, Experiment
from sacred.dependencies import Source, get_digest
from sacred.utils import SacredInterrupt

from backends.base import Backend, Device
from experiments.tracking import machine
from experiments.tracking.observer import SacredObserver
from experiments.tracking.recorder import PACE, Tracker
from framework.protocols import Outcome
from framework.spec.validation import plain

# Sacred's default replaces the file descriptors, and nothing would be a terminal any more.
SETTINGS["CAPTURE_MODE"] = "sys"
SETTINGS["CONFIG"]["READ_ONLY_CONFIG"] = False
SETTINGS["DISCOVER_DEPENDENCIES"] = "imported"
# Of the imported sources Sacred finds those of one module alone.
SETTINGS["DISCOVER_SOURCES"] = "none"
# Sacred's own look at processor, GPUs and git ends the run where one of them is missing, and waits for ever for what
# hangs: `machine` looks at them.
SETTINGS["HOST_INFO"]["INCLUDE_CPU_INFO"] = SETTINGS["HOST_INFO"]["INCLUDE_GPU_INFO"] = False

# The folder whose sources Sacred stores.
_SOURCES = Path(__file__).parents[1]


class Ended(SacredInterrupt):
    """A run that was asked to end: Sacred writes its STATUS down."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.STATUS = status


class Failed(Exception):
    """A run that ended by a fault; its cause is the exception."""


def make(module: str, flags: Sequence[Any] = ()) -> Experiment:
    """An experiment of a command, `"experiments.run"`; flags are Sacred's additional ones."""
    name = module.rpartition(".")[2]
    made = Experiment(name, base_dir=_SOURCES, additional_cli_options=list(flags), save_git_info=False)
    # The commands say themselves what there is to say.
    made.logger = logging.getLogger(f"sacred.{module}")
    made.logger.setLevel(logging.CRITICAL)
    made.sources |= {Source(path, get_digest(path), None, None, None) for path in _loaded()}
    return made


def placed(backend: Backend, device: Device) -> dict[str, Any]:
    """What a config may leave to the machine, as it was chosen: the config that is stored is the one that was used."""
    return {"backend": backend.name, "device": device.name, "threads": device.threads}


def _loaded() -> list[str]:
    """The files of the modules of experiments that are imported by now."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [file for file in files if file and Path(file).is_relative_to(_SOURCES)]


def run(
    experiment: Experiment,
    tracker: Tracker,
    train: Callable[[], Outcome],
    flags: Mapping[str, Any],
    meta: Mapping[str, Any],
    told: Sequence[str] = (),
) -> BaseException | None:
    """Train within a Sacred run, and close its tracker; `tracker.note` says what the database lacks.

    Args:
        experiment: has its config.
        tracker: hears of the run.
        train: what Sacred calls; its outcome is the run's.
        flags: Sacred's own options.
        meta: the recipes and changes that made the config.
        told: lines that were printed before, which belong to the run's output.

    Returns:
        What the run ended by, if not well: `Ended`, `Failed`, or what was raised outside of the training.
    """
    host, repository = _machine()
    for source in experiment.sources if repository else ():
        source.repo, source.commit, source.is_dirty = (repository[name] for name in ("url", "commit", "dirty"))
    experiment.observers.append(SacredObserver(tracker, host, told))

    # Sacred marks the function that it calls, which a bound method does not let it, and stores its name.
    def main() -> dict[str, Any]:
        return _told(train())

    experiment.main(main)
    error: BaseException | None = None
    try:
        experiment.run(options=dict(flags), meta_info=dict(meta))
    except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - the caller makes a line and an exit code of it
        error = caught
    finally:
        # Who was asked to end has little time: a replay brings what the database lacks.
        tracker.close(PACE.close if error is None else PACE.close / 2)
    return error


@cache
def _machine() -> tuple[dict[str, Any], dict[str, Any]]:
    """Asked once: the students of a sweep are runs of one process."""
    return machine.collected(_SOURCES)


def _told(outcome: Outcome) -> dict[str, Any]:
    """Sacred takes a result, or an exception whose kind is the status."""
    if outcome.status == "FAILED":
        raise Failed from outcome.error
    if outcome.status != "COMPLETED":
        raise Ended(outcome.status)
    return dict(plain(outcome.result))

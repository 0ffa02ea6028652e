"""A training as a Sacred run: the experiment, what Sacred calls, and what it hears of the end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacred import SETTINGS, Experiment
from sacred.dependencies import Source, get_digest
from sacred.utils import SacredInterrupt

from experiments.tracking.observer import SacredObserver
from experiments.tracking.recorder import PACE, Tracker
from framework.protocols import Outcome
from framework.spec.validation import plain

# Sacred's default replaces the file descriptors, and nothing would be a terminal any more.
SETTINGS["CAPTURE_MODE"] = "sys"
SETTINGS["CONFIG"]["READ_ONLY_CONFIG"] = False
SETTINGS["DISCOVER_DEPENDENCIES"] = "imported"
# Sacred asks git anew for each source file; and of the imported ones it finds those of one module alone.
SETTINGS["DISCOVER_SOURCES"] = "none"

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
    made = Experiment(name, base_dir=_SOURCES, additional_cli_options=list(flags), save_git_info=True)
    # The commands say themselves what there is to say.
    made.logger = logging.getLogger(f"sacred.{module}")
    made.logger.setLevel(logging.CRITICAL)
    main = made.mainfile
    made.sources |= {Source(path, get_digest(path), main.repo, main.commit, main.is_dirty) for path in _loaded()}
    return made


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
) -> BaseException | None:
    """Train within a Sacred run, and close its tracker; `tracker.note` says what the database lacks.

    Args:
        experiment: has its config.
        tracker: hears of the run.
        train: what Sacred calls; its outcome is the run's.
        flags: Sacred's own options.
        meta: the recipes and changes that made the config.

    Returns:
        What the run ended by, if not well: `Ended`, `Failed`, or what was raised outside of the training.
    """
    experiment.observers.append(SacredObserver(tracker))

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


def _told(outcome: Outcome) -> dict[str, Any]:
    """Sacred takes a result, or an exception whose kind is the status."""
    if outcome.status == "FAILED":
        raise Failed from outcome.error
    if outcome.status != "COMPLETED":
        raise Ended(outcome.status)
    return dict(plain(outcome.result))

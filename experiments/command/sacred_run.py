"""A training as a Sacred run: the experiment, what Sacred calls, and what it hears of the end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sacred import SETTINGS, Experiment
from sacred.dependencies import Source
from sacred.observers import FileStorageObserver, SqlObserver
from sacred.utils import SacredInterrupt

from backends.base import Backend, Device
from experiments.command import options
from experiments.tracking import machine
from experiments.tracking.observer import SacredObserver
from experiments.tracking.recorder import PACE, Tracker
from experiments.tracking.scrub import reason, scrub_text
from experiments.tracking.snapshot import DIFF, MAX_SOURCE, PROJECT, Store
from experiments.tracking.unobserved import Unobserved
from framework.errors import UserError
from framework.protocols import Outcome
from framework.spec.validation import plain

# Sacred's default replaces the file descriptors, and nothing would be a terminal any more.
SETTINGS["CAPTURE_MODE"] = "sys"
SETTINGS["CONFIG"]["READ_ONLY_CONFIG"] = False
# All that is installed: when Sacred looks, a backend isn't imported yet.
SETTINGS["DISCOVER_DEPENDENCIES"] = "pkg"
# Of the imported sources Sacred finds those of one module alone.
SETTINGS["DISCOVER_SOURCES"] = "none"
# Sacred's own look at processor, GPUs and git ends the run where one of them is missing, and waits for ever for what
# hangs: `machine` looks at them.
SETTINGS["HOST_INFO"]["INCLUDE_CPU_INFO"] = SETTINGS["HOST_INFO"]["INCLUDE_GPU_INFO"] = False


class Ended(SacredInterrupt):
    """A run that was asked to end: Sacred writes its STATUS down."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.STATUS = status


class Failed(Exception):
    """A run that ended by a fault; its cause is the exception."""


class _Faults(logging.Handler):
    """Says in a line that an observer has failed: Sacred goes on without it. The commands say the rest themselves."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if text.startswith(("An error ocurred", "Traceback")):  # the first is Sacred's own spelling
            print(f"warning: Sacred: {scrub_text(text.splitlines()[-1])[:300]}", file=sys.stderr)


class _Sql(SqlObserver):  # type: ignore[misc, unused-ignore]
    """Sacred's `-s`, whose results can only be numbers: of ours the student's accuracy on the test split."""

    def completed_event(self, stop_time: Any, result: Any) -> None:
        super().completed_event(stop_time, _accuracy(result))

    def heartbeat_event(self, info: Any, captured_out: Any, beat_time: Any, result: Any) -> None:
        super().heartbeat_event(info, captured_out, beat_time, _accuracy(result))


def _accuracy(result: Any) -> float | None:
    student = ((result or {}).get("test") or {}).get("student") or {}
    return student.get("accuracy")


class _Files(FileStorageObserver):  # type: ignore[misc, unused-ignore]
    """Sacred's `-F`, for a folder in which runs of another database have the same numbers: the next free one, then."""

    def _make_run_dir(self, _id: Any) -> None:
        try:
            super()._make_run_dir(_id)
        except FileExistsError:
            super()._make_run_dir(None)


def make(module: str, flags: Sequence[Any] = ()) -> Experiment:
    """An experiment of a command, `"experiments.run"`; flags are Sacred's additional ones."""
    name = module.rpartition(".")[2]
    made = Experiment(name, base_dir=PROJECT, additional_cli_options=list(flags), save_git_info=False)
    made.logger = logging.getLogger(f"sacred.{module}")
    made.logger.setLevel(logging.WARNING)
    made.logger.propagate, made.logger.handlers = False, [_Faults()]
    return made


def add_sources(experiment: Experiment, files: Mapping[str, Path]) -> None:
    """Let Sacred know of source files: its own observers store them, and `print_dependencies` lists them."""
    for path in files.values():
        experiment.sources.add(Source.create(str(path), save_git_info=False))


def placed(backend: Backend, device: Device) -> dict[str, Any]:
    """What a config may leave to the machine, as it was chosen: the config that is stored is the one that was used."""
    return {"backend": backend.name, "device": device.name, "threads": device.threads}


def run(
    experiment: Experiment,
    tracker: Tracker | Unobserved,
    train: Callable[[], Outcome],
    flags: Mapping[str, Any],
    meta: Mapping[str, Any],
    files: Mapping[str, Path],
    told: Sequence[str] = (),
) -> BaseException | None:
    """Train within a Sacred run, and close its tracker; `tracker.note` says what the database lacks.

    What Sacred refuses to begin, one of its options for example, leaves nothing behind.

    Args:
        train: what Sacred calls; its outcome is the run's.
        flags: Sacred's own options.
        meta: the recipes and changes that made the config.
        files: the sources, by name.
        told: lines that were printed before, which belong to the run's output.

    Returns:
        What the run ended by, if not well: `Ended`, `Failed`, or what was raised outside of the training.
    """
    observer = SacredObserver(tracker, *known(tracker.folder, files, not flags.get("--unobserved")), told)
    experiment.observers.append(observer)
    if flags.get("--loglevel"):
        _listen(experiment.logger)

    # Sacred marks the function that it calls, which a bound method does not let it, and stores its name.
    def main() -> dict[str, Any]:
        return _told(train())

    experiment.main(main)
    error: BaseException | None = None
    try:
        if not flags.get("--unobserved"):
            _add_others(experiment, flags, files)
        experiment.run(options=for_sacred(flags), meta_info={**meta, "options": dict(flags)})
    except (Exception, KeyboardInterrupt) as caught:  # the caller makes a line and an exit code of it
        error = caught
        if not observer.begun and not flags.get("--unobserved"):
            tracker.abandon()
            if isinstance(caught, UserError | KeyboardInterrupt):
                raise
            raise UserError(f"Sacred can't begin the run: {type(caught).__name__}: {reason(caught)}") from caught
    finally:
        # Who was asked to end has little time: a replay brings what the database lacks.
        tracker.close(PACE.close if error is None else PACE.close / 2)
    return error


def _add_others(experiment: Experiment, flags: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Sacred's own observers, with all the sources."""
    if any(flags.get(name) for name in options.OBSERVERS):
        add_sources(experiment, files)
    if flags.get(options.FILES):
        Path(flags[options.FILES]).mkdir(parents=True, exist_ok=True)
        experiment.observers.append(_Files(flags[options.FILES]))
    if flags.get(options.SQL):
        experiment.observers.append(_Sql(flags[options.SQL]))


def for_sacred(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Sacred's options without those that were seen to before it begins."""
    flags = options.without_observers(flags) if flags.get("--unobserved") else flags
    level = flags.get("--loglevel")
    return {
        **{name: value for name, value in flags.items() if name not in (options.CLEAN, options.FILES, options.SQL)},
        "--loglevel": None if level is None else options.log_level(level),
    }


def _listen(logger: logging.Logger) -> None:
    """Print what Sacred logs, in its form."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s - %(name)s - %(message)s"))
    logger.handlers = [handler]


def known(folder: Path, files: Mapping[str, Path], keep: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known of the machine, and of a run's sources in Sacred's form; `keep` keeps these beside the runs."""
    host, repository = _machine()
    texts = {DIFF: scrub_text(repository["diff"])[:MAX_SOURCE]} if repository.get("diff") else {}
    git = {name: repository[name] for name in ("url", "commit", "dirty")} if repository else None
    found: dict[str, Any] = {"base_dir": str(PROJECT), "repositories": [git] if git else []}
    try:
        found["sources"] = Store.of(folder).keep(files, texts) if keep else []
    except OSError as error:
        host = {**host, "notes": {**host.get("notes", {}), "sources": f"not kept: {error.strerror or error}"}}
    return host, found


@cache
def _machine() -> tuple[dict[str, Any], dict[str, Any]]:
    """Asked once: the students of a sweep are runs of one process."""
    return machine.collected(PROJECT)


def _told(outcome: Outcome) -> dict[str, Any]:
    """Sacred takes a result, or an exception whose kind is the status."""
    if outcome.status == "FAILED":
        raise Failed from outcome.error
    if outcome.status != "COMPLETED":
        raise Ended(outcome.status)
    return dict(plain(outcome.result))

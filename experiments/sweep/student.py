"""One student of a sweep: a Sacred run of its own, within which those of the others run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.command import sacred_run
from experiments.command.sacred_run import Ended, Failed
from experiments.distillation import resuming, sources
from experiments.distillation.distillation import Distillation, tell
from experiments.distillation.lineage import Origin
from experiments.distillation.prepare import Common, prepare
from experiments.sweep.ledger import DIVERGED, Entry
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import Destination
from experiments.tracking.recorder import Tracker
from framework.errors import UserError
from framework.loop.fit import Turns
from framework.loop.progress import Progress
from framework.loop.stop import Stop
from framework.loop.together import Shared
from framework.protocols import Outcome
from framework.spec.validation import plain


class Student:
    """A point of a sweep on its way through one run.

    It is prepared, then opened, then run.

    Args:
        entry: the point; what becomes of it is written there.
        root: the folder of runs.
        origin: the run to resume, if any.

    Attributes:
        ready: the distillation, once it is prepared.
        fault: what kept it from that, if anything of its own did.
        folder, tracker: the run's, once it is opened.
        outcome: how it ended, once it has.
    """

    ready: Distillation
    folder: Path
    tracker: Tracker
    fault: Exception | None = None
    outcome: Outcome | None = None

    def __init__(self, entry: Entry, root: Path, origin: Origin | None) -> None:
        self.entry, self.root, self.origin = entry, root, origin
        self.spec, self.options = entry.point.checked

    def prepare(self, common: Common) -> None:
        """Build and check all it needs; a fault that is no mistake of the user's is kept, and ends its run alone.

        Args:
            common: what the group shares.

        Raises:
            UserError: anything that the user can mend.
        """
        try:
            ready = prepare(self.spec, self.options, root=self.root, tell=self._note, common=common)
            ready.made_by = f"python -m experiments.sweep ({self.entry.point.label})"
            if self.origin is not None:
                resuming.go_on(ready, self.origin)
        except UserError:
            raise
        except Exception as fault:  # noqa: BLE001 - the others are trained all the same
            self.fault = fault
        else:
            self.ready = ready

    def open(self, destination: Destination) -> None:
        """Make its run's folder and write the run down for the entry."""
        self.folder = new_run_folder(self.root)
        self.tracker = Tracker(self.folder, destination)
        self.entry.runs = [*self.entry.runs, self.folder.name]

    def run(self, stop: Stop, sweep: str, flags: Mapping[str, Any], rest: Callable[[], None]) -> None:
        """Begin the run, let `rest` begin the others and train all of them, and end the run as the student ended.

        Args:
            stop: says whether all shall end.
            sweep: the name of the sweep, a field of the run's document.
            flags: Sacred's own options.
            rest: called once within the run, whatever becomes of this student.
        """
        experiment = sacred_run.make("experiments.sweep")
        experiment.add_config(self.entry.point.config)
        if self.fault is None:
            experiment.add_config(sacred_run.placed(self.ready.backend, self.ready.device))
        origin = self.origin.fields() if self.origin is not None else {}
        self.tracker.annotate(**origin, sweep=sweep, sweep_point=dict(self.entry.point.values))
        meta = {"named_configs": list(self.entry.point.recipes), "config_updates": {}}
        files = sources.captured(self.spec)
        error = sacred_run.run(experiment, self.tracker, lambda: self._train(stop, rest), flags, meta, files)
        self.entry.number = self.tracker.number
        # The outcome tells the others.
        if error is not None and not isinstance(error, Ended | Failed):
            raise error

    def _train(self, stop: Stop, rest: Callable[[], None]) -> Outcome:
        if self.fault is not None:
            self.ended(Outcome("FAILED", 0, error=self.fault))
        elif stop.status is not None:
            self.ended(Outcome(stop.status, 0))
        else:
            self._started()
        rest()
        assert self.outcome is not None
        return self.outcome

    def _started(self) -> None:
        spec = self.ready.spec
        prints = {"fingerprint": spec.fingerprint, "fingerprint_no_seed": spec.fingerprint_no_seed}
        self.tracker.started(spec.to_dict(), {**self.ready.environment, **prints})
        self.tracker.annotate(total_steps=self.ready.total_steps)

    def turns(self, stop: Stop, progress: Progress, shared: Shared) -> Turns:
        """Its training, a step at a time."""
        batches = shared.upto(self.ready.total_steps)
        return self.ready.turns(self.tracker, self.folder, stop, progress, self._warn, batches)

    def ended(self, outcome: Outcome) -> None:
        """Write down at once how it ended; its Sacred run ends later, with those within it."""
        self.outcome = outcome
        diverged = isinstance(outcome.error, FloatingPointError)
        self.entry.status = DIVERGED if diverged else outcome.status
        self.entry.result = dict(plain(outcome.result))
        self.entry.number = self.tracker.number
        if outcome.error is not None and outcome.status == "FAILED":
            self.entry.told = f"{type(outcome.error).__name__}: {outcome.error}"
            self._note(f"{self.entry.told}; the other students continue")
        self.tracker.ended(outcome.status, self.entry.result)

    def _warn(self, line: str) -> None:
        self._note(line)
        self.tracker.record("warning", text=line)

    def _note(self, line: str) -> None:
        tell(f"{self.entry.point.label}: {line}")

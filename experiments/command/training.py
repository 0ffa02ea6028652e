"""One training run of a command: prepared, run within a Sacred run, and told.

What is refused, is refused while it is prepared: nothing has been written down by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sacred import Experiment
from sacred.randomness import set_global_seed

from experiments import config as configs
from experiments.command import sacred_run
from experiments.command.exit import DONE, FAULT, ended, say
from experiments.command.options import ID, run_id
from experiments.command.report import report
from experiments.command.sacred_run import Ended, Failed
from experiments.distillation import resuming, sources
from experiments.distillation.distillation import BEFORE, Distillation
from experiments.distillation.lineage import CHECKPOINTS, Origin
from experiments.distillation.prepare import prepare
from experiments.distillation.telling import tell
from experiments.distillation.trained import data_for
from experiments.distributed import following, joining
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import DatabaseError, Destination
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import PACE, Tracker
from experiments.tracking.scrub import reason
from experiments.tracking.unobserved import NoRecorder, Unobserved
from framework.errors import some
from framework.files.checkpoints import Checkpoints
from framework.loop.saving import newest
from framework.loop.stop import Stop
from framework.loop.waiting import waiting
from framework.protocols import Outcome

# Takes a completed run and its folder; returns lines to print.
Finish = Callable[[Distillation, Outcome, Path], Sequence[str]]


class Training:
    """The run of a command that trains, within a Sacred run.

    It is prepared before there is a run: what is refused leaves nothing behind.

    Args:
        module: the command's, `"experiments.run"`.
        command: the command line, stored with the student.
        origin: the run to resume, if any.
        folder: the run's own, where it is there already; None makes one.
    """

    destination: Destination
    folder: Path
    tracker: Tracker | Unobserved

    def __init__(
        self,
        module: str,
        command: str,
        experiment: Experiment,
        config: configs.Config,
        root: Path,
        origin: Origin | None,
        folder: Path | None = None,
    ) -> None:
        self.module, self.command, self.experiment = module, command, experiment
        self.root, self.origin, self._own = root, origin, folder
        self.spec, self.options = configs.spec_and_options(config)
        self.outcome: Outcome | None = None
        self.stop = Stop()
        self.told: list[str] = []

    def go(
        self, connect: Callable[[], Destination], flags: Mapping[str, Any], meta: Mapping[str, Any], finish: Finish
    ) -> int:
        """Prepare, run and report; returns the exit code.

        Args:
            connect: opens where the run goes, once it is prepared.
            flags: Sacred's own options.
            meta: the recipes and changes that made the config.
            finish: what is done with a completed run beside the report.

        Raises:
            UserError: anything that the user can mend; there is no run then.
        """
        debug = bool(flags.get("--debug"))
        try:
            with self.stop.listening():
                self.ready = self._prepared()
        except KeyboardInterrupt:
            asked = Ended(self.stop.status or "INTERRUPTED")
            return ended(self.module, asked, debug, "before the first step, nothing was trained")
        if self.ready.world.rank:
            return self._followed(debug)
        with connect() as self.destination:
            self._begin(flags)
            self._lead()
            error = self._run(flags, meta)
            code = self._failed(error, flags) if error is not None else self._completed(finish)
            for line in filter(None, (self.tracker.note, self.destination.note)):
                tell(line)
        return code

    def _lead(self) -> None:
        """Tell the other processes where the run is; it has FAILED where one of them is lost, whoever waits for it."""
        self.ready.world.gather(str(self.folder))
        if (others := joining.channel()) is not None:
            others.on_lost = self._lost

    def _lost(self, why: str) -> None:
        self.tracker.ended("FAILED", fail_trace=[why])
        self.tracker.close(PACE.close / 2)
        kept = newest(Checkpoints(self.folder / CHECKPOINTS))
        say(self.module, f"{why}; {f'kept: {kept}' if kept else 'no checkpoint yet'}; run {self._name()}")

    def _followed(self, debug: bool) -> int:
        """Train with the first process, which tells of the run."""
        following.move(Path(self.ready.world.gather(None)[0]), self.ready.world.rank)
        outcome = self._listened(lambda: self.ready.run(NoRecorder(), None, self.stop))
        if outcome.error is not None:
            self._tell_others(outcome.error)
            return ended(self.module, outcome.error, debug)
        done = outcome.status == "COMPLETED"
        return DONE if done else ended(self.module, Ended(outcome.status), debug, f"after step {outcome.steps}")

    def _tell_others(self, error: BaseException) -> None:
        if (others := joining.channel()) is not None:
            others.fail(error)

    def _begin(self, flags: Mapping[str, Any]) -> None:
        """Make the run's folder, and what keeps track of it."""
        self.folder = self._own or new_run_folder(self.root)
        if flags.get("--unobserved"):
            self.tracker = Unobserved(self.folder)
            return
        self.tracker = Tracker(self.folder, self.destination)
        if flags.get(ID) is not None:
            self.tracker.record("id", id=run_id(flags[ID]))

    def _prepared(self) -> Distillation:
        # As Sacred does before a run: other people's models may draw from the libraries' own generators.
        set_global_seed(self.spec.seed)
        splits = data_for(self.spec, self.options, self.root, self._tell)
        ready = prepare(self.spec, self.options, root=self.root, splits=splits, tell=self._tell)
        ready.made_by = self.command
        if self.origin is not None:
            self.changes = resuming.go_on(ready, self.origin, self.options.resume_anyway)
            # "resume=latest" makes nothing again.
            ready.made_by = self.origin.metadata.get("made_by") or ready.made_by
        else:
            # A weak teacher is refused by what is measured first.
            with waiting(BEFORE, self._tell):
                _ = ready.before
        self.experiment.add_config(sacred_run.placed(ready.backend, ready.device))
        return ready

    def _tell(self, line: str) -> None:
        """Say it, and keep it for the run's output, which doesn't exist yet."""
        tell(line)
        self.told.append(line)

    def _run(self, flags: Mapping[str, Any], meta: Mapping[str, Any]) -> BaseException | None:
        others = None
        if self.origin is not None:
            self.tracker.annotate(**self.origin.fields())
            others = threading.Thread(target=self._bring_along, args=(self.origin.segments,), daemon=True)
            others.start()
        files = sources.captured(self.ready.spec)
        body = partial(self._listened, self._train)
        error = sacred_run.run(self.experiment, self.tracker, body, flags, meta, files, self.told)
        if others is not None:
            # Nobody waits for that after a signal or while the database is away: the next segment does it again.
            others.join(timeout=PACE.close if error is None and self.tracker.note is None else 1.0)
        return error

    def _listened(self, train: Callable[[], Outcome]) -> Outcome:
        with self.stop.listening():
            try:
                return train()
            except KeyboardInterrupt:
                return Outcome(self.stop.status or "INTERRUPTED", 0)

    def _train(self) -> Outcome:
        if self.origin is not None:
            self._tell_origin(self.origin)
        self.spec = self.ready.spec
        prints = {"fingerprint": self.spec.fingerprint, "fingerprint_no_seed": self.spec.fingerprint_no_seed}
        self.tracker.started(self.spec.to_dict(), {**self.ready.environment, **prints})
        self.tracker.annotate(total_steps=self.ready.total_steps)
        rounded = ", TensorFloat-32" if self.options.tf32 else ""
        tell(f"{self._title()} on {self.ready.backend.name}, {self.ready.device}{rounded}")
        self.outcome = self.ready.run(self.tracker, self.folder, self.stop, warn=self._warn)
        return self.outcome

    def _tell_origin(self, origin: Origin) -> None:
        self.experiment.current_run.info.update({**origin.fields(), "resumed_anyway": self.changes})
        if self.changes:
            self.tracker.annotate(resumed_anyway=self.changes)
        self.origin = self.ready.origin
        notes = "".join(f"; {line}" for line in (*origin.notes, *self.changes))
        tell(f"resuming run {origin.folder.name} after step {origin.step}{notes}")

    def _bring_along(self, folders: Sequence[Path]) -> None:
        """Bring into the database what runs that were killed had still to write."""
        if self.destination.database is None:
            return
        try:
            for folder in folders:
                replay(folder, self.destination.database)
        except (DatabaseError, OSError) as error:
            cure = self.destination.replay_command()
            tell(f"the database lacks part of the earlier segments ({reason(error)}): {cure}")

    def _warn(self, line: str) -> None:
        tell(line)
        self.tracker.record("warning", text=line)

    def _title(self) -> str:
        epochs = self.ready.total_steps * self.spec.batch_size / self.ready.splits.train.num_examples
        teaching = self.spec.teaching if self.spec.teachers else "training on labels"
        steps = some(self.ready.total_steps, "step", "steps")
        return f"{teaching}: {steps} ({some(round(epochs), 'epoch', 'epochs')}) of {self.spec.data.name}"

    def _completed(self, finish: Finish) -> int:
        assert self.outcome is not None
        problems = self.outcome.problems
        extra = () if problems else finish(self.ready, self.outcome, self.folder)
        print(report(self.ready, self.outcome, self._places(), extra))
        if problems:
            more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
            say(self.module, f"COMPLETED, but not all could be written: {problems[-1]}{more}")
        return FAULT if problems else DONE

    def _failed(self, error: BaseException, flags: Mapping[str, Any]) -> int:
        if isinstance(error, Failed) and error.__cause__ is not None:
            error = error.__cause__
        if not hasattr(error, "STATUS"):
            self._tell_others(error)
        # The same steps would end in the same way: nobody is told to resume from a loss that is NaN or infinite.
        kept = self._kept(hint=not isinstance(error, FloatingPointError))
        return ended(self.module, error, bool(flags.get("--debug")), kept, bool(flags.get("--pdb")))

    def _kept(self, hint: bool = True) -> str:
        if self.outcome is None:
            return f"before the first step, nothing was trained; run {self._name()}"
        kept = f"kept: {self.outcome.kept}" if self.outcome.kept else "no checkpoint yet"
        told = f"ended after step {self.outcome.steps}, {kept}; run {self._name()}"
        # A run that wrote none itself leads to the one that it resumed.
        if not hint or (self.outcome.kept is None and self.origin is None):
            return told
        return f"{told}; to resume: python -m {self.module}{self._flag()} with resume={self._name()}"

    def _name(self) -> str:
        """By what other commands find the run: one that nobody observed, by its folder."""
        unobserved = isinstance(self.tracker, Unobserved)
        return str(self.folder if unobserved else self.tracker.number or self.tracker.uid)

    def _flag(self) -> str:
        return f" {self.destination.flag}" if self.destination.flag else ""

    def _places(self) -> list[str]:
        if isinstance(self.tracker, Unobserved):
            return ["logged nowhere, as --unobserved asks", f"files in {self.folder}"]
        flag = self._flag() if self.destination.database is not None else " --journal-only"
        show = f"python -m experiments.runs show {self._name()}{flag}"
        return [f"logged in {self.destination.describe()} as run {self._name()}: {show}", f"files in {self.folder}"]

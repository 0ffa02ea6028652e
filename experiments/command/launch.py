"""From a command line to a Sacred run: reads the words, finds the database, runs, reports, and returns an exit code."""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docopt import DocoptExit, docopt
from sacred import SETTINGS, Experiment
from sacred.commandline_options import cli_option
from sacred.utils import SacredInterrupt

from experiments import config as configs
from experiments.command import usage
from experiments.command.exit import DONE, FAULT, ended, guarded, say
from experiments.command.report import report
from experiments.distillation import lineage, resuming
from experiments.distillation.checks import check_early
from experiments.distillation.distillation import Distillation, tell
from experiments.distillation.prepare import prepare
from experiments.distillation.trained import train_missing
from experiments.planning.plan import add_command, timed_steps
from experiments.tracking.journal import default_root, new_run_folder
from experiments.tracking.mongod import DatabaseError, Destination, open_database
from experiments.tracking.observer import SacredObserver
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import PACE, Tracker
from experiments.tracking.scrub import reason, scrub_text
from framework.errors import UserError
from framework.loop.stop import Stop
from framework.protocols import Outcome
from framework.spec.validation import plain

# Sacred's default replaces the file descriptors, and nothing would be a terminal any more.
SETTINGS["CAPTURE_MODE"] = "sys"
SETTINGS["CONFIG"]["READ_ONLY_CONFIG"] = False
SETTINGS["DISCOVER_DEPENDENCIES"] = "imported"
SETTINGS["DISCOVER_SOURCES"] = "imported"


class Ended(SacredInterrupt):
    """A run that was asked to end: Sacred writes its STATUS down."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.STATUS = status


class Failed(Exception):
    """A run that ended by a fault; its cause is the exception."""


@cli_option("-J", "--journal-only", is_flag=True)
def journal_only(args: bool, run: Any) -> None:
    """Write the run to its folder's journal alone, not to a database."""


@dataclass
class Program:
    """A command that trains.

    Attributes:
        module: how it is started, `"experiments.run"`.
        summary: what it does, for `--help`.
        recipe: the config where no recipe is named.
        examples: what may follow its name, for `--help`.
        check: refuses configs that are not for this command.
        finish: what it does with a completed run beside the report; returns lines to print.
    """

    module: str
    summary: str
    recipe: str
    examples: Sequence[str]
    check: Callable[[configs.Config], None] = lambda config: None
    finish: Callable[[Distillation, Outcome, Path], Sequence[str]] = lambda ready, outcome, folder: ()

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line; returns the exit code."""
        words = list(sys.argv[1:] if argv is None else argv)
        return guarded(self.module, lambda: self._main(words), debug=bool({"-d", "--debug"} & set(words)))

    def _main(self, argv: list[str]) -> int:
        if argv[:1] == ["help"] or {"-h", "--help"} & set(argv):
            print(usage.text(self.module, self.summary, self.recipe, self.examples))
            return DONE
        return self._run(argv)

    def _run(self, argv: list[str]) -> int:
        name = self.module.rpartition(".")[2]
        experiment = Experiment(name, additional_cli_options=[journal_only, timed_steps], save_git_info=True)
        experiment.logger = usage.quiet_logger(self.module)
        add_command(experiment)
        usage.name_recipes(experiment)
        options = self._options(experiment, argv)
        root = default_root()
        uri, journal_alone = options.pop("--mongo_db", None), bool(options.pop("--journal-only", False))
        resumed, words = resuming.split(options.pop("UPDATE"))
        origin = resuming.load(lineage.find(resumed, root, uri, journal_alone)) if resumed else None
        config, recipes, changes = configs.read(words, self.recipe, origin.config() if origin else None)
        self.check(config)
        experiment.add_config(config)
        command = options.pop("COMMAND")
        if command:
            if command not in dict(experiment.gather_commands()):
                raise UserError(usage.explain(argv, experiment))
            experiment.run(command, options={**options, "--mongo_db": None, "--unobserved": True})
            return DONE
        spec, chosen = configs.split(config)
        if origin is not None:
            resuming.check_words(origin, spec, chosen.resume_anyway)
            if resuming.is_finished(origin, spec):
                print(f"run {origin.folder.name} is finished: there is nothing to do")
                return DONE
        check_early(spec, chosen)
        with open_database(uri, journal_alone, root) as destination:
            run = _Run(self, experiment, destination, config, root, origin)
            run.command = scrub_text(shlex.join(["python", "-m", self.module, *argv]))
            return run.go(options, {"named_configs": recipes, "config_updates": changes})

    def _options(self, experiment: Experiment, argv: list[str]) -> dict[str, Any]:
        _, _, internal = experiment.get_usage()
        try:
            return dict(docopt(internal, argv, default_help=False))
        except DocoptExit as error:
            raise UserError(usage.explain(argv, experiment)) from error


class _Run:
    """One training run inside Sacred."""

    def __init__(
        self,
        program: Program,
        experiment: Experiment,
        destination: Destination,
        config: configs.Config,
        root: Path,
        origin: lineage.Origin | None = None,
    ) -> None:
        self.program, self.experiment, self.destination, self.root = program, experiment, destination, root
        self.origin = origin
        self.spec, self.options = configs.split(config)
        self.folder = new_run_folder(root)
        self.tracker = Tracker(self.folder, destination)
        self.outcome: Outcome | None = None
        self.ready: Distillation | None = None
        self.stop = Stop()
        self.command = ""

    def go(self, options: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
        """Run and report; returns the exit code."""
        self.experiment.observers.append(SacredObserver(self.tracker))
        others = None
        if self.origin is not None:
            self.tracker.annotate(**self.origin.fields())
            others = threading.Thread(target=self._bring_along, args=(self.origin.segments,), daemon=True)
            others.start()

        # Sacred marks the function that it calls, which a bound method does not let it, and stores its name.
        def main() -> dict[str, Any]:
            return self.body()

        self.experiment.main(main)
        error: BaseException | None = None
        try:
            self.experiment.run(options=dict(options), meta_info=dict(meta))
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - every end becomes an exit code and a line
            error = caught
        # Who was asked to end has little time: a replay brings what the database lacks.
        note = self.tracker.close(PACE.close if error is None else PACE.close / 2)
        if others is not None:
            # Nobody waits for that after a signal or while the database is away: the next segment does it again.
            others.join(timeout=PACE.close if error is None and note is None else 1.0)
        code = self._end(error, bool(options.get("--debug")))
        for line in (note, self.destination.note):
            if line:
                print(line, file=sys.stderr)
        return code

    def body(self) -> dict[str, Any]:
        """What Sacred calls."""
        with self.stop.listening():
            try:
                outcome = self.outcome = self._train()
            except KeyboardInterrupt as error:
                outcome = Outcome(self.stop.status or "INTERRUPTED", 0, error=error)
        if outcome.status == "FAILED":
            raise Failed from outcome.error
        if outcome.status != "COMPLETED":
            raise Ended(outcome.status)
        return dict(plain(outcome.result))

    def _train(self) -> Outcome:
        train_missing(self.spec, self.options, self.root, tell)
        self.ready = prepare(self.spec, self.options, root=self.root, tell=tell)
        self.ready.made_by = self.command
        if self.origin is not None:
            self._go_on(self.ready, self.origin)
        self.spec = self.ready.spec
        self.tracker.started(self.spec.to_dict(), self._environment())
        rounded = ", TensorFloat-32" if self.options.tf32 else ""
        tell(f"{self._title()} on {self.ready.backend.name}, {self.ready.device}{rounded}")
        return self.ready.run(self.tracker, self.folder, self.stop, warn=self._warn)

    def _go_on(self, ready: Distillation, origin: lineage.Origin) -> None:
        changes = resuming.go_on(ready, origin, self.options.resume_anyway)
        self.experiment.current_run.info.update({**origin.fields(), "resumed_anyway": changes})
        if changes:
            self.tracker.annotate(resumed_anyway=changes)
        self.origin = ready.origin
        # "resume=latest" makes nothing again.
        ready.made_by = origin.metadata.get("made_by") or ready.made_by
        notes = "".join(f"; {line}" for line in (*origin.notes, *changes))
        tell(f"going on with run {origin.folder.name} after step {origin.step}{notes}")

    def _bring_along(self, folders: Sequence[Path]) -> None:
        """Bring into the database what runs that were killed had still to write."""
        if self.destination.database is None:
            return
        try:
            for folder in folders:
                replay(folder, self.destination.database)
        except (DatabaseError, OSError) as error:
            tell(
                f"not all of the runs before is in the database ({reason(error)}): {self.destination.replay_command()}"
            )

    def _warn(self, line: str) -> None:
        """Say it, and write it down."""
        tell(line)
        self.tracker.record("warning", text=line)

    def _environment(self) -> dict[str, Any]:
        assert self.ready is not None
        prints = {"fingerprint": self.spec.fingerprint, "fingerprint_no_seed": self.spec.fingerprint_no_seed}
        return {**self.ready.environment, **prints}

    def _title(self) -> str:
        assert self.ready is not None
        epochs = self.ready.total_steps * self.spec.batch_size / self.ready.splits.train.num_examples
        teaching = self.spec.teaching if self.spec.teachers else "training on labels"
        return f"{teaching}: {self.ready.total_steps} steps ({epochs:.0f} epochs) of {self.spec.data.name}"

    def _end(self, error: BaseException | None, debug: bool) -> int:
        if error is None:
            assert self.ready is not None
            assert self.outcome is not None
            problems = self.outcome.problems
            extra = () if problems else self.program.finish(self.ready, self.outcome, self.folder)
            print(report(self.ready, self.outcome, self._places(), extra))
            if problems:
                more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
                say(self.program.module, f"COMPLETED, but not all could be written: {problems[-1]}{more}")
            return FAULT if problems else DONE
        if isinstance(error, Failed) and error.__cause__ is not None:
            error = error.__cause__
        # The same steps would end in the same way: nobody is told to go on from a loss that is no number.
        kept = self._kept(hint=not isinstance(error, FloatingPointError))
        return ended(self.program.module, error, debug, kept)

    def _kept(self, hint: bool = True) -> str:
        if self.outcome is None:
            return f"before the first step, nothing was trained; run {self._name()}"
        kept = f"kept: {self.outcome.kept}" if self.outcome.kept else "no checkpoint yet"
        told = f"ended after step {self.outcome.steps}, {kept}; run {self._name()}"
        # A run that wrote none itself leads to the one that it went on from.
        if not hint or (self.outcome.kept is None and self.origin is None):
            return told
        return f"{told}: python -m {self.program.module}{self._flag()} with resume={self._name()} goes on"

    def _name(self) -> str:
        return str(self.tracker.number or self.tracker.uid)

    def _flag(self) -> str:
        return f" {self.destination.flag}" if self.destination.flag else ""

    def _places(self) -> list[str]:
        show = f"python -m experiments.runs show {self._name()}{self._flag()}"
        shown = show if self.destination.database is not None else self.destination.replay_command()
        return [f"logged in {self.destination.describe()} as run {self._name()}: {shown}", f"files in {self.folder}"]

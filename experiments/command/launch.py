"""From a command line to a run: reads the words, finds the database, trains, and returns an exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from docopt import DocoptExit, docopt
from sacred import Experiment
from sacred.commandline_options import cli_option
from sacred.commands import help_for_command

from experiments import config as configs
from experiments.command import queueing, sacred_run, usage
from experiments.command.config_files import take_filename
from experiments.command.exit import DONE, guarded
from experiments.command.options import QUEUE, check_chosen, without_observers
from experiments.command.options import check as check_options
from experiments.command.slurm import settings, submit
from experiments.command.training import Finish, Training
from experiments.distillation import early, lineage, resuming, sources
from experiments.distributed import following, joining
from experiments.planning.plan import add_command, timed_steps
from experiments.tracking.folders import check_root, default_root
from experiments.tracking.mongod import check_database, open_database
from experiments.tracking.scrub import scrub_text
from framework.errors import UserError
from framework.spec import DistillSpec
from framework.spec.validation import plain


@cli_option("-J", "--journal-only", is_flag=True)
def journal_only(args: bool, run: Any) -> None:
    """Write the run to its folder's journal alone, not to a database."""


@cli_option("-x", "--slurm")
def to_slurm(args: str, run: Any) -> None:
    """Submit the command to Slurm: time=MINUTES,partition=NAME,gpus=N,..."""


@dataclass(frozen=True)
class Stored:
    """A run to be done again.

    Attributes:
        run: its uid, or its number where it has none.
        made_by: the name of the experiment, `"teacher"` for those of `experiments.teacher`.
        line: the command, which the new run stores as its own.
        uri: where the database is, as in `open_database`.
    """

    run: str
    made_by: str
    config: configs.Config
    root: Path
    line: Sequence[str]
    uri: str | None = None


@dataclass
class Program:
    """A command that trains.

    Attributes:
        module: how it is started, `"experiments.run"`.
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
    finish: Finish = lambda ready, outcome, folder: ()

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line; returns the exit code."""
        words = list(sys.argv[1:] if argv is None else argv)
        asked = set(words)
        call = partial(self._main, words)
        code = guarded(self.module, call, bool({"-d", "--debug"} & asked), bool({"-D", "--pdb"} & asked))
        joining.end(code)
        return code

    def again(self, stored: Stored, argv: Sequence[str]) -> int:
        """Do a run again, with the changes and options of a command line; returns the exit code.

        Raises:
            UserError: anything that the user can mend.
        """
        return self._run(list(argv), stored)

    def attempt(
        self, stored: Stored, options: Mapping[str, Any], meta: Mapping[str, Any], folder: Path, before: Path | None
    ) -> int:
        """Do a run that was queued, or go on with it; returns the exit code.

        Args:
            options, meta: as they were when it was queued; Sacred's options by their long names.
            folder: of this attempt.
            before: that of an earlier one with a checkpoint; None begins with the first step.

        Raises:
            UserError: it can't be run here.
        """
        experiment, root = self._experiment(), stored.root
        origin = resuming.load(before) if before else None
        config, _, _ = configs.read([], self.recipe, origin.config() if origin else stored.config)
        self.check(config)
        spec, chosen = configs.spec_and_options(config)
        if origin is not None:
            resuming.check_words(origin, spec, chosen)
        experiment.add_config(config)
        early.check(spec, chosen)
        training = Training(self.module, shlex.join(stored.line), experiment, config, root, origin, folder)
        return training.go(lambda: open_database(stored.uri, False, root), options, meta, self.finish)

    def _main(self, argv: list[str]) -> int:
        if argv[:1] == ["help"] or {"-h", "--help"} & set(argv):
            print(self._help(argv))
            return DONE
        return self._run(argv)

    def _help(self, argv: Sequence[str]) -> str:
        commands = dict(self._experiment().gather_commands()) if argv[:1] == ["help"] else {}
        if set(argv) & set(commands):
            return str(help_for_command(commands[argv[1]]))
        return usage.text(self.module, self.summary, self.recipe, self.examples, argv)

    def _experiment(self) -> Experiment:
        experiment = sacred_run.make(self.module, [journal_only, timed_steps, to_slurm])
        add_command(experiment)
        usage.name_recipes(experiment)
        return experiment

    def _run(self, argv: list[str], stored: Stored | None = None) -> int:
        following.hush()
        try:
            return self._train(argv, stored)
        except BaseException as error:
            if (others := joining.channel()) is not None:
                others.fail(error)
            raise
        finally:
            joining.leave()

    def _train(self, argv: list[str], stored: Stored | None) -> int:
        early.add_working_folder()
        experiment = self._experiment()
        command, words, options = self._asked(experiment, argv)
        root = stored.root if stored else default_root()
        asked = options.pop("--slurm", None)
        if options[QUEUE] or asked is not None:
            joining.refuse("-q" if options[QUEUE] else "--slurm")
        slurm = None if asked is None else self._slurm(asked, command or (options[QUEUE] and "-q"), stored)
        uri, journal_alone = options.pop("--mongo_db", None), bool(options.pop("--journal-only", False))
        filename, words = take_filename(command, words)
        resumed, words = resuming.take_resume(words)
        if resumed and options[QUEUE]:
            raise UserError(f"-q queues a run from its first step: leave resume={resumed} out")
        origin = resuming.load(lineage.find(resumed, root, uri, journal_alone)) if resumed else None
        base = origin.config() if origin else stored.config if stored else None
        config, recipes, changes = configs.read(words, self.recipe, base)
        self.check(config)
        if origin is not None and not self._resumes(config, origin):
            print(f"run {origin.folder.name} is finished: there is nothing to do")
            return DONE
        experiment.add_config(config)
        spec, chosen = configs.spec_and_options(config)
        if command:
            return self._command(experiment, command, options, spec, filename)
        early.check(spec, early.elsewhere(chosen) if options[QUEUE] or slurm is not None else chosen)
        check_root(root)
        if options["--unobserved"]:
            uri, journal_alone = None, True
        check_database(uri, journal_alone)
        check_chosen(options, spec, root, uri, journal_alone)
        if slurm is not None:
            print(submit(slurm, self.module, *usage.split(argv, experiment, ("-x", "--slurm")), root))
            return DONE
        line = scrub_text(shlex.join(stored.line if stored else ["python", "-m", self.module, *argv]))
        meta = {"named_configs": recipes, "config_updates": changes, **({"rerun_of": stored.run} if stored else {})}
        if options[QUEUE]:
            return queueing.run(experiment, config, options, meta, queueing.Place(self.module, line, uri, root))
        training = Training(self.module, line, experiment, config, root, origin)
        return training.go(lambda: open_database(uri, journal_alone, root), options, meta, self.finish)

    def _asked(self, experiment: Experiment, argv: list[str]) -> tuple[str | None, list[str], dict[str, Any]]:
        """One of Sacred's commands, if that is asked for; what follows `with`; and the options."""
        usage.refuse_options(argv, experiment)
        _, _, internal = experiment.get_usage()
        try:
            options = dict(docopt(internal, argv, default_help=False))
        except DocoptExit as error:
            raise UserError(usage.explain(argv, experiment)) from error
        command, words = options.pop("COMMAND"), options.pop("UPDATE")
        if command and command not in dict(experiment.gather_commands()):
            raise UserError(usage.explain(argv, experiment))
        options = without_observers(options) if command else options
        check_options(options)
        return command, words, options

    def _resumes(self, config: configs.Config, origin: lineage.Origin) -> bool:
        """Give the config the schedule of the run that it resumes; False where that run has no step left."""
        spec, chosen = configs.spec_and_options(config)
        resuming.check_words(origin, spec, chosen)
        if resuming.is_finished(origin, spec):
            return False
        config["schedule"] = plain(resuming.extended(spec, chosen, origin).schedule)
        return True

    def _slurm(self, asked: str, other: str | None, stored: Stored | None) -> dict[str, Any]:
        other = "runs rerun" if stored else other
        if other:
            raise UserError(f"--slurm and {other} don't go together: leave one out")
        return settings(asked)

    def _command(
        self, experiment: Experiment, name: str, options: dict[str, Any], spec: DistillSpec, filename: str | None
    ) -> int:
        """One of Sacred's commands, or `plan`: none trains."""
        if name == "print_dependencies":
            sacred_run.add_sources(experiment, sources.captured(spec))
        if filename is not None:
            experiment.add_config(config_filename=filename)
        experiment.run(name, options=sacred_run.for_sacred(options))
        return DONE

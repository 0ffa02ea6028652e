"""From a command line to a run: reads the words, finds the database, trains, and returns an exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from docopt import DocoptExit, docopt
from sacred import Experiment
from sacred.commandline_options import cli_option

from experiments import config as configs
from experiments.command import sacred_run, usage
from experiments.command.exit import DONE, guarded
from experiments.command.training import Finish, Training
from experiments.distillation import early, lineage, resuming
from experiments.planning.plan import add_command, timed_steps
from experiments.tracking.journal import check_root, default_root
from experiments.tracking.mongod import check_database, open_database
from experiments.tracking.scrub import scrub_text
from framework.errors import UserError
from framework.spec.validation import plain


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
    finish: Finish = lambda ready, outcome, folder: ()

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line; returns the exit code."""
        words = list(sys.argv[1:] if argv is None else argv)
        return guarded(self.module, lambda: self._main(words), debug=bool({"-d", "--debug"} & set(words)))

    def _main(self, argv: list[str]) -> int:
        if argv[:1] == ["help"] or {"-h", "--help"} & set(argv):
            print(usage.text(self.module, self.summary, self.recipe, self.examples, argv))
            return DONE
        return self._run(argv)

    def _run(self, argv: list[str]) -> int:
        early.add_working_folder()
        experiment = sacred_run.make(self.module, [journal_only, timed_steps])
        add_command(experiment)
        usage.name_recipes(experiment)
        options = self._options(experiment, argv)
        root = default_root()
        uri, journal_alone = options.pop("--mongo_db", None), bool(options.pop("--journal-only", False))
        resumed, words = resuming.take_resume(options.pop("UPDATE"))
        origin = resuming.load(lineage.find(resumed, root, uri, journal_alone)) if resumed else None
        config, recipes, changes = configs.read(words, self.recipe, origin.config() if origin else None)
        self.check(config)
        if origin is not None:
            spec, chosen = configs.spec_and_options(config)
            resuming.check_words(origin, spec, chosen)
            if resuming.is_finished(origin, spec):
                print(f"run {origin.folder.name} is finished: there is nothing to do")
                return DONE
            config["schedule"] = plain(resuming.extended(spec, chosen, origin).schedule)
        experiment.add_config(config)
        command = options.pop("COMMAND")
        if command and command not in dict(experiment.gather_commands()):
            raise UserError(usage.explain(argv, experiment))
        if command:
            experiment.run(command, options={**options, "--mongo_db": None, "--unobserved": True})
            return DONE
        spec, chosen = configs.spec_and_options(config)
        early.check(spec, chosen)
        check_root(root)
        check_database(uri, journal_alone)
        line = scrub_text(shlex.join(["python", "-m", self.module, *argv]))
        training = Training(self.module, line, experiment, config, root, origin)
        meta = {"named_configs": recipes, "config_updates": changes}
        return training.go(lambda: open_database(uri, journal_alone, root), options, meta, self.finish)

    def _options(self, experiment: Experiment, argv: list[str]) -> dict[str, Any]:
        usage.refuse_options(argv, experiment)
        _, _, internal = experiment.get_usage()
        try:
            return dict(docopt(internal, argv, default_help=False))
        except DocoptExit as error:
            raise UserError(usage.explain(argv, experiment)) from error

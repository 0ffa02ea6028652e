"""What `--help` says, and the plain words for a command line that can't be read."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.command import keys
from experiments.config import defaults
from experiments.recipes import NOTES, RECIPES
from framework.errors import near

if TYPE_CHECKING:
    from sacred import Experiment

_TEXT = """\
usage: python -m {module} [COMMAND] [with RECIPE... KEY=VALUE...] [OPTIONS]

{summary}

examples:
{examples}

recipes ({recipe} where none is named; python -m {module} with RECIPE):
{recipes}

keys (KEY=VALUE, as optimizer.lr=0.001; the values shown are those of {recipe}; docs/options.md has the same):

{keys}

commands: print_config, print_named_configs, save_config, print_dependencies, and
  plan                      what a recipe will do (steps, parameters, arithmetic, memory, files, time), and what
                            is missing on this machine; nothing is downloaded

options:
  -m ADDRESS, --mongo_db    where to log: host:port:db, or a mongodb:// URI, or @FILE with it (chmod 600; a password
                            may stand there or in EXPERIMENTS_MONGO_URI alone); else EXPERIMENTS_MONGO_URI,
                            else an embedded server in .experiments/, else the journal in the run's folder
  -J, --journal-only        log to the run's folder alone
  -c TEXT, --comment        a comment, stored with the run
  -n NAME, --name           the experiment's name
  -F FOLDER                 also log to files, as Sacred does
  -T N, --timed-steps       how many steps plan times (3); 0 for none
  -p, --print-config        print the config first
  -u, --unobserved          no Sacred observer (the journal is written all the same)
  -d, --debug               show the traceback of a fault
  -h, --help [KEY...]       this text, or the meaning of these keys alone (--help optimizer)

exit codes: 0 done, 1 a fault, 2 a mistake in the command, 75 preempted (SIGTERM, SIGUSR1), 130 Ctrl-C;
a run that could not write a checkpoint ends with 1 at the end; resuming a finished run does nothing and ends with 0"""


def text(module: str, summary: str, recipe: str, examples: Sequence[str], words: Sequence[str] = ()) -> str:
    """The help of a command that trains.

    Args:
        module, summary, recipe: of the command.
        examples: what may follow its name.
        words: names of keys or of their parts; where any is one, the help is of those keys alone.
    """
    listed = keys.listing(defaults(recipe), shutil.get_terminal_size((100, 24)).columns, words)
    if keys.meant(words):
        return listed
    lines = "\n".join(f"  python -m {module} {words}".rstrip() for words in examples)
    parts = {"module": module, "summary": summary, "recipe": recipe, "examples": lines}
    return _TEXT.format(**parts, recipes=_recipes(), keys=listed)


def _recipes() -> str:
    width = max(map(len, RECIPES))
    return "\n".join(f"  {name:{width}}  {NOTES[name]}" for name in RECIPES)


def name_recipes(experiment: Experiment) -> None:
    """Let Sacred's `print_named_configs` list the recipes, each with its note and its command.

    For that alone: the words after `with` are read before Sacred sees them.
    """
    for name, delta in RECIPES.items():
        experiment.add_named_config(name, delta)
        module = "experiments.teacher" if name.endswith("_teacher") else "experiments.run"
        experiment.named_configs[name].__doc__ = f"{NOTES[name]}: python -m {module} with {name}"


def explain(argv: list[str], experiment: Experiment) -> str:
    """What is probably wrong with a command line that Sacred's parser refuses."""
    known = ["with", *(name for name, _ in experiment.gather_commands())]
    words = [word for word in argv if not word.startswith("-")]
    if words and words[0] not in known:
        hint = (
            "write 'with' before KEY=VALUE and recipes"
            if "=" in words[0] or words[0] in RECIPES
            else near(words[0], known)
        )
        return f"{' '.join(argv)!r} can't be read: {hint}; --help shows the options"
    return f"{' '.join(argv)!r} can't be read; --help shows the options"

"""What `--help` says, and the plain words for a command line that can't be read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.command import keys
from experiments.command.suggestions import is_known, meant
from experiments.config import defaults
from experiments.recipes import NOTES, RECIPES
from framework.errors import UserError, near

if TYPE_CHECKING:
    from sacred import Experiment

_TEXT = """\
usage: python -m {module} [COMMAND] [with RECIPE... KEY=VALUE...] [OPTIONS]

{summary}

examples:
{examples}

recipes ({recipe} where none is named; python -m {module} with RECIPE):
{recipes}

keys (KEY=VALUE, as optimizer.lr=0.001, optimizer=sgd, loss=l2, duration=100; quote what has spaces or brackets; the
values shown are those of {recipe}; docs/options.md has the same):

{keys}

commands: print_config, print_named_configs, save_config, print_dependencies, and
  plan                      what a recipe will do (steps, parameters, arithmetic, memory, files, time) and what is
                            missing on this machine; downloads nothing

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
  -u, --unobserved          log nowhere, not even to a journal
  -i ID, --id               the run's id in the database
  -q, --queue               store the run for python -m experiments.worker, here or elsewhere (docs/queues.md)
  -P NUMBER, --priority     of a queued run: those with the highest are run first (0)
  -x, --slurm KEY=VALUE,... submit the command to Slurm: time=MINUTES,partition=NAME,gpus=N,nodes=N (docs/queues.md)
  -e, --enforce_clean       refuse sources that differ from their commit
  -d, --debug               show the traceback of a fault
  -D, --pdb                 start the debugger where a fault arose
  -h, --help [KEY...]       this text, or the meaning of these keys alone (--help optimizer)
  docs/sacred.md has all of Sacred's options, and files of configs: with config.json

exit codes: 0 done, 1 a fault, 2 a mistake in the command, 75 preempted (SIGTERM, SIGUSR1 and 2), 130 Ctrl-C or SIGHUP;
a run that could not write a checkpoint ends with 1 at its end; resuming a finished run does nothing and ends with 0"""


def text(module: str, summary: str, recipe: str, examples: Sequence[str], words: Sequence[str] = ()) -> str:
    """The help of a command that trains; where any of the words is a key or a part of one, of those keys alone."""
    listed = keys.listing(defaults(recipe), shutil.get_terminal_size((100, 24)).columns, words)
    if keys.meant(words):
        return listed
    lines = "\n".join(f"  python -m {module} {words}".rstrip() for words in examples)
    width = max(map(len, RECIPES))
    recipes = "\n".join(f"  {name:{width}}  {NOTES[name]}" for name in RECIPES)
    return _TEXT.format(module=module, summary=summary, recipe=recipe, examples=lines, recipes=recipes, keys=listed)


def name_recipes(experiment: Experiment) -> None:
    """Let Sacred's `print_named_configs` list the recipes, each with its note and its command.

    For that alone: the words after `with` are read before Sacred sees them.
    """
    for name, delta in RECIPES.items():
        experiment.add_named_config(name, delta)
        module = "experiments.teacher" if name.endswith("_teacher") else "experiments.run"
        experiment.named_configs[name].__doc__ = f"{NOTES[name]}: python -m {module} with {name}"


def refuse_options(argv: Sequence[str], experiment: Experiment) -> None:
    """Refuse an option that there isn't, by its name; Sacred's parser would repeat the whole line.

    Raises:
        UserError: an unknown option, one without its value, or one of Sacred's that means something else elsewhere.
    """
    takes_value = _options(experiment)
    rest = list(argv)
    for known, whole in _parts(argv, takes_value):
        word, follows = whole[0], next(iter(rest[1:]), None)
        del rest[: len(whole)]
        if not _is_option(word):
            continue
        name, _, value = word.partition("=")
        elsewhere = known == "-b" or (word == "-e" and follows is not None and follows.replace(".", "").isdigit())
        if known is None or elsewhere or (len(name) > 2 and name[1] != "-" and is_known(name[1:])):
            given = value or (follows if follows and not _is_option(follows) and follows != "with" else None)
            sacreds = "; Sacred's beat interval is --beat-interval" if known == "-b" else ""
            raise UserError(f"unknown option {name}: {meant(name, takes_value, given)}{sacreds}")
        if takes_value[known] and word == known and follows is None:
            raise UserError(f"option {word} needs a value; --help explains it")


_LONG_DASHES = "\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"
_OPTION = re.compile(r"^ +-(\w)(?: VALUE)? --([\w-]+)(=VALUE)?", re.MULTILINE)


def _options(experiment: Experiment) -> dict[str, bool]:
    """The options that Sacred's parser knows, and whether each takes a value."""
    found = _OPTION.findall(experiment.get_usage()[2])
    return {name: bool(value) for short, long, value in found for name in (f"-{short}", f"--{long}")}


def split(argv: Sequence[str], experiment: Experiment, but: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of a command line, with their values, and the other words.

    It must be one that Sacred's parser takes; `but` has all names of the options that are left out.
    """
    parts = list(_parts(argv, _options(experiment)))
    flags = [word for known, whole in parts if known is not None and known not in but for word in whole]
    return flags, [word for known, whole in parts if known is None for word in whole]


def _parts(argv: Sequence[str], takes_value: Mapping[str, bool]) -> Iterator[tuple[str | None, Sequence[str]]]:
    """Each option that there is, by a name of it, with its value; and each other word, without a name."""
    while argv:
        name = argv[0].partition("=")[0]
        known = name if name in takes_value else argv[0][:2] if argv[0][:2] in takes_value else None
        size = 2 if known == argv[0] and takes_value[known] else 1
        yield known, argv[:size]
        argv = argv[size:]


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and (word[1] == "-" or word[1].isalpha())


def explain(argv: Sequence[str], experiment: Experiment) -> str:
    """What is probably wrong with a command line that Sacred's parser refuses."""
    commands = [name for name, _ in experiment.gather_commands()]
    takes_value = _options(experiment)
    words = [whole[0] for known, whole in _parts(argv, takes_value) if known is None]
    if words[-1:] == ["with"]:
        return "nothing follows 'with': write recipes and KEY=VALUE after it, or leave it out"
    wrong = words[1:2] if words[0:1] and words[0] in commands else words[:1]
    if not wrong:
        return f"{' '.join(argv)!r} can't be read; --help shows the options"
    if "=" in wrong[0] or wrong[0] in RECIPES or (words[0] in commands and wrong[0] != "with"):
        return f"unexpected {wrong[0]!r}: write 'with' before KEY=VALUE and recipes"
    if wrong[0][0] in _LONG_DASHES:
        name, _, value = wrong[0].lstrip(_LONG_DASHES).partition("=")
        given = value or next(iter(words[words.index(wrong[0]) + 1 :]), None)
        return f"{wrong[0]!r} begins with a long dash, options with '-': {meant('--' + name, takes_value, given)}"
    return f"there is no command {wrong[0]!r}: {near(wrong[0], ['with', *commands])}"

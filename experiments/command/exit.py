"""How a command ends: one line on stderr, without secrets, and an exit code.

Exit codes: 0 done, 1 a fault (a file that could not be written is one), 2 the user's mistake, 75 preempted, 130 Ctrl-C
or a closed terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pdb
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, Self

from experiments.command.streams import FULL, lasting
from experiments.tracking.scrub import scrub_text
from framework.errors import UserError, near, one_line

DONE, FAULT, MISTAKE, PREEMPTED, INTERRUPTED = 0, 1, 2, 75, 130
_MAX_CHARS = 1500
# What argparse says of a word that is none of those that are allowed.
_CHOICE = re.compile(r"argument (.+?): invalid choice: '(.*)' \(choose from (.*)\)")


def guarded(name: str, call: Callable[[], int], debug: bool = False, post_mortem: bool = False) -> int:
    """Run a command; whatever it raises is said in a line.

    Args:
        name: of the command, `"experiments.run"`.
        call: does it, and returns the exit code.
        debug: show the traceback as well.
        post_mortem: show it, and start the debugger where the fault arose.
    """
    with lasting() as lost:
        try:
            _check_here()
            code = call()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every end becomes an exit code and a line
            code = ended(name, error, debug, post_mortem=post_mortem)
    if lost and code == DONE:
        with contextlib.suppress(OSError):
            say(name, f"not all of the output could be written: {lost[0].strerror}")
        return FAULT
    return code


def _check_here() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder has been removed: change to another") from None


def ended(name: str, error: BaseException, debug: bool = False, kept: str = "", post_mortem: bool = False) -> int:
    """Say why a command ended, and return its exit code.

    Args:
        name, debug, post_mortem: as in `guarded`; a mistake or an interrupt starts no debugger.
        error: what it ended by; one with a `STATUS`, as Sacred's interrupts have it, was asked for.
        kept: what is left of its work; no mistake has any.
    """
    debug = debug or post_mortem
    if isinstance(error, KeyboardInterrupt) or hasattr(error, "STATUS"):
        status = getattr(error, "STATUS", "INTERRUPTED")
        say(name, f"{status}: {kept}" if kept else status.lower())
        return PREEMPTED if status == "PREEMPTED" else INTERRUPTED
    if debug:
        print(scrub_text("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    if isinstance(error, UserError):
        say(name, str(error))
        return MISTAKE
    if isinstance(error, Warning) and not kept:
        cure = "leave out python's -W error and PYTHONWARNINGS, which make an error of it"
        say(name, f"{type(error).__name__}, {cure}: {one_line(error)}")
        return MISTAKE
    told = f"{type(error).__name__}: {_reason(error)}"
    say(name, "; ".join(filter(None, (told, kept, "" if debug else "-d shows the traceback"))))
    if post_mortem:
        pdb.post_mortem(error.__traceback__)
    return FAULT


def say(name: str, message: str) -> None:
    """Say something on stderr in a command's name, in one line."""
    print(f"{name}: {one_line(scrub_text(message), _MAX_CHARS)}", file=sys.stderr, flush=True)


def _reason(error: BaseException) -> str:
    # The database's driver takes a while to import, and a command that ends well may not need it.
    from experiments.tracking.folders import default_root
    from experiments.tracking.mongod import DatabaseError
    from experiments.tracking.scrub import reason

    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        return f"{error} (runs and caches are in {default_root()})"
    return reason(error) if isinstance(error, DatabaseError) else str(error)


class Parser(argparse.ArgumentParser):
    """Mistakes on the command line are one line, without the usage above it; the help outlasts its reader."""

    @classmethod
    def described(cls, name: str, text: str | None, usage: str | None = None) -> Self:
        """The parser of a command.

        Args:
            name: of the command, `"experiments.run"`.
            text: its module's docstring; the help shows the first line above the options, the rest below.
            usage: how it is called, where argparse's own line doesn't say it.
        """
        title, _, rest = (text or "").partition("\n\n")
        form = argparse.RawDescriptionHelpFormatter
        return cls(prog=f"python -m {name}", usage=usage, description=title, epilog=rest, formatter_class=form)

    def print_help(self, file: Any = None) -> None:
        """Print the help."""
        with lasting():
            super().print_help(file)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        name = self.prog.removeprefix("python -m ").split()[0]
        _, unknown, words = message.partition("unrecognized arguments: ")
        if unknown:
            option, *rest = words.split()
            known = f"unknown option {option}: {self._meant(option, rest)}"
            message = known if option.startswith("-") else f"unexpected {option!r}"
        elif choice := _CHOICE.fullmatch(message):
            what = "there is no command" if "|" in choice[1] else choice[1]
            allowed = re.findall(r"[^ ,']+", choice[3])
            message = f"{what} {choice[2]!r}: {near(choice[2], allowed)}"
        say(name, f"{message} (see {self.prog} --help)")
        raise SystemExit(MISTAKE)

    def _meant(self, option: str, rest: list[str]) -> str:
        from experiments.command import suggestions

        name, _, value = option.partition("=")
        takes_keys = "with" in (self.usage or "")
        return suggestions.meant(name, self._options(), value or "".join(rest[:1]), takes_keys)

    def _options(self) -> list[str]:
        """Its own, and those of its commands."""
        commands = [each.choices for each in self._actions if isinstance(each, argparse._SubParsersAction)]
        parsers = [self, *(parser for choices in commands for parser in choices.values())]
        return [option for parser in parsers for option in parser._option_string_actions]


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add the option that shows tracebacks."""
    parser.add_argument("-d", "--debug", action="store_true", help="show the traceback of a fault")

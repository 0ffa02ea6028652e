"""Functions by name: a literal table first, then anybody's own by import path `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framework.errors import UserError, near, one_line


def find(name: str, table: Mapping[str, Callable[..., Any]], what: str) -> Callable[..., Any]:
    """The function of a name.

    Args:
        name: a key of the table, or an import path with a colon.
        table: the functions that have a plain name.
        what: what is looked for, for messages, `"loss.distance"`.

    Raises:
        UserError: there is no such name, module or function.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        raise UserError(f"{what} = {name!r}: {near(name, table)}; or your own, package.module:function")
    return imported(name, what)


def imported(path: str, what: str) -> Callable[..., Any]:
    """The function at an import path `package.module:function`; arguments and errors as in `find`."""
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")) or module_name.endswith(".py"):
        plain = module_name.removesuffix(".py").strip("./").replace("/", ".")
        hint = f"did you mean {plain}:{attribute}? " if all(map(str.isidentifier, plain.split("."))) else ""
        raise UserError(f"{what} = {path!r}: {hint}expected package.module:function")
    try:
        with running(f"{what} = {path!r}", ModuleNotFoundError):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(f"{what} = {path!r}: {module_name} needs {error.name!r}, which is not installed") from error
        lacking = f"there is no module {error.name or module_name!r}"
        raise UserError(f"{what} = {path!r}: {lacking} in {Path.cwd()} or among the installed packages") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UserError(f"{what} = {path!r}: {module_name} has no function {attribute!r}; {near(attribute, public)}")
    return function


@contextmanager
def running(who: str, *passed: type[Exception]) -> Iterator[None]:
    """Tell what somebody's own code raises within it as a mistake of theirs.

    Args:
        who: what messages call the code.
        passed: what is raised as it is, besides our own errors.

    Raises:
        UserError: the code raised something.
    """
    as_they_are: tuple[type[Exception], ...] = (UserError, MemoryError, *passed)
    try:
        yield
    except as_they_are:
        raise
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")
        raise UserError(f"{who} fails: {told}{_line(error)}") from error


def _line(error: BaseException) -> str:
    """Where an error was raised, in words; a syntax error says it itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or isinstance(error, SyntaxError):
        return ""
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"


def check_options(function: Callable[..., Any], options: Collection[str], ours: Collection[str], what: str) -> None:
    """Refuse options that a function doesn't take, and the lack of one that it needs.

    Args:
        function: what is called with the options as keyword arguments.
        options: their names.
        ours: the parameters that are no options: what the project itself passes.
        what: what is called, for messages, `"model 'bit'"`.

    Raises:
        UserError: it names the nearest option.
    """
    known = inspect.signature(function).parameters.values()
    by_name = [each for each in known if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
    accepted = [each.name for each in by_name if each.name not in ours]
    for option in options:
        if option in ours or (option not in accepted and not any(each.kind is each.VAR_KEYWORD for each in known)):
            raise UserError(
                f"{what} has no option {option!r}: {near(option, accepted) if accepted else 'it takes none'}"
            )
    for each in by_name:
        if each.default is each.empty and each.name not in (*ours, *options):
            raise UserError(f"{what} needs the option {each.name!r}")

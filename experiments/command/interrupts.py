"""Ctrl-C in a command's first seconds, while it is still imported: a line, as later, in place of a traceback."""

from __future__ import annotations

import sys
from types import TracebackType


def hush() -> None:
    """Let `python -m experiments.COMMAND` end so; a program of the user's that imports the project stays as it is."""
    # While `python -m` imports a module's packages, this is the program's name.
    if sys.argv[:1] != ["-m"] or not any(word.startswith("experiments") for word in sys.orig_argv):
        return
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("experiments: interrupted", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = told

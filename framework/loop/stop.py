"""Ending a run at the next step: signals set a flag that the training loop looks at."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from framework.protocols import Status

_NAMES: dict[str, Status] = {
    "SIGINT": "INTERRUPTED",
    "SIGHUP": "INTERRUPTED",
    "SIGTERM": "PREEMPTED",
    "SIGUSR1": "PREEMPTED",
    "SIGUSR2": "PREEMPTED",
}
_MOMENT = 0.05  # seconds
# Not every system has them all.
_STATUS: dict[int, Status] = {getattr(signal, name): status for name, status in _NAMES.items() if hasattr(signal, name)}


class Stop:
    """Whether a run was asked to end, and as what.

    Attributes:
        status: as what it shall end; None while nobody asked.
        heeded: whether a loop looks at `status` now and then. Where none does, a signal raises KeyboardInterrupt at
            once, and so does a second Ctrl-C.
    """

    status: Status | None = None
    heeded: bool = False

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Take note of a signal.

        Raises:
            KeyboardInterrupt: nobody would look at the note, or this is the second Ctrl-C.
        """
        again = self.status is not None and number == signal.SIGINT
        self.status = self.status or _STATUS[number]
        if again or not self.heeded:
            raise KeyboardInterrupt

    @contextmanager
    def heeding(self, heeded: bool = True) -> Iterator[None]:
        """The caller looks at `status` meanwhile; or, with False inside of it, doesn't for a while."""
        before, self.heeded = self.heeded, heeded
        try:
            yield
        finally:
            self.heeded = before

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Listen to the signals meanwhile; only the main thread can, elsewhere nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before: dict[int, Any] = {number: signal.signal(number, self.ask) for number in _STATUS if not _ignored(number)}
        dropped, sys.unraisablehook = sys.unraisablehook, _raised_again(sys.unraisablehook)
        try:
            yield self
        finally:
            sys.unraisablehook = dropped
            for number, handler in before.items():
                # None is a handler of a library's C code, which Python can't put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _raised_again(others: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Takes what Python drops because it was raised in a destructor or a callback of a library, and tells the others.

    An interrupt is raised again a moment later, when that is over. SIGTERM does it, which is never a second Ctrl-C.
    """

    def take(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            others(dropped)
            return
        later = threading.Timer(_MOMENT, _thread.interrupt_main, (signal.SIGTERM,))
        later.daemon = True
        later.start()

    return take


def _ignored(number: int) -> bool:
    """`nohup` has the end of the terminal ignored. Shells ignore SIGINT for what they start with `&`: that is heard."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN

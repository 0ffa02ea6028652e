"""Output that outlasts its reader: a closed terminal or pipe ends no command."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

# No room: on the disk, in a quota, for a file of that size.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Lasting:
    """A text stream whose output is dropped, without a word, once nobody can read it.

    What there was no room for is put into `lost`: that isn't dropped without a word.
    """

    def __init__(self, stream: TextIO, lost: list[OSError]) -> None:
        self._stream, self._lost = stream, lost

    def write(self, text: str) -> int:
        """Write, where there still is a reader."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush, where there still is a reader."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Send what is still buffered, and all that follows, to nowhere: Python flushes once more when it ends."""
        self._lost += [error] if error.errno in FULL else []
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting() -> Iterator[list[OSError]]:
    """Let stdout and stderr outlast their readers meanwhile; one that was closed from the start leads nowhere.

    Yields:
        What could not be written for want of room, known in full when this ends.
    """
    before, lost = (sys.stdout, sys.stderr), list[OSError]()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        ours = tuple(cast(TextIO, Lasting(stream or nowhere, lost)) for stream in before)
        sys.stdout, sys.stderr = ours
        try:
            yield lost
        finally:
            for stream in ours:
                stream.flush()
            sys.stdout, sys.stderr = before

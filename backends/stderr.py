"""Keep what a library's C++ code prints while it is imported off the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back what is written to the process's stderr; it is shown only where an exception ends the block.

    TensorFlow greets from C++ before any setting of its log reaches it: four lines on what the processor can do.
    """
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:  # a process without a stderr
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            with os.fdopen(os.dup(terminal), "wb") as shown:
                shutil.copyfileobj(file, shown)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)

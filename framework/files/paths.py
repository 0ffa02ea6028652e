"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(name: str | os.PathLike[str]) -> Path:
    """A path whose `~` is the home folder; where there is none, or no such user, the name stays as it is.

    >>> path_of("~no such user/x")
    PosixPath('~no such user/x')
    """
    return Path(os.path.expanduser(name))

"""The sources of runs: a store beside the runs keeps each content once, by its MD5, as Sacred names sources."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

STORE = "sources"
# What a run's sources hold beside files: how they differ from the commit.
DIFF = "uncommitted.diff"
PROJECT = Path(__file__).parents[2]
MAX_SOURCE = 2**20
_OURS = ("framework", "backends", "experiments")


def project_files() -> dict[str, Path]:
    """All our own sources, by their names in the project."""
    paths = (path for name in _OURS for path in (PROJECT / name).rglob("*.py"))
    return {path.relative_to(PROJECT).as_posix(): path for path in sorted(paths)}


class Store:
    """The contents of sources, a file each, in the folder of runs."""

    def __init__(self, root: Path) -> None:
        self.folder = root.absolute() / STORE

    @classmethod
    def of(cls, run: Path) -> Store:
        """The store of a run, by its folder."""
        return cls(run.absolute().parents[1])

    def keep(self, files: Mapping[str, Path], texts: Mapping[str, str]) -> list[list[str]]:
        """Take in what is not there yet; files that are too large or can't be read are left out.

        Args:
            files: by the name that they have in the run.
            texts: further contents, by name.

        Returns:
            Pairs of name and MD5, as Sacred has them.

        Raises:
            OSError: the store can't be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = [[name, md5] for name, path in files.items() if (md5 := self._file(path))]
        return kept + [[name, self._content(text.encode("utf-8", "replace"))] for name, text in texts.items()]

    def get(self, md5: str) -> bytes | None:
        """A content; None where it is not here."""
        try:
            return (self.folder / md5).read_bytes()
        except OSError:
            return None

    def find(self, md5: str, path: Path) -> bytes | None:
        """A content from the store, or from the file that it was read from, if that is what it was."""
        content = self.get(md5)
        if content is None and path.is_file() and path.stat().st_size <= MAX_SOURCE:
            now = path.read_bytes()
            content = now if _md5(now) == md5 else None
        return content

    def _file(self, path: Path) -> str | None:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            found = path.stat()
            if found.st_size <= MAX_SOURCE:
                md5 = _md5_of(path, found.st_mtime_ns, found.st_size)
                return md5 if (self.folder / md5).exists() else self._content(path.read_bytes())
        return None

    def _content(self, content: bytes) -> str:
        md5 = _md5(content)
        if not (self.folder / md5).exists():
            temporary = self.folder / f".{md5}-{secrets.token_hex(4)}"
            temporary.write_bytes(content)
            temporary.replace(self.folder / md5)
        return md5


@lru_cache(maxsize=4096)
def _md5_of(path: Path, changed: int, size: int) -> str:
    """A file's MD5, computed once as long as it stays what it is: the students of a sweep are runs of one process."""
    del changed, size
    return _md5(path.read_bytes())


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()

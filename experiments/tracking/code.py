"""How the sources of runs differ: from each other, and from what is here now."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from experiments.tracking.snapshot import DIFF, PROJECT
from experiments.tracking.source import Captured, Document, Runs
from framework.errors import UserError, few
from framework.files.arrays import digest

# The other side of a comparison that is no run.
HERE = "here"
# Before the sources of the whole project were kept, names began below this folder.
_FORMERLY = "experiments"


def of(runs: Runs, document: Document) -> dict[str, Captured]:
    """A run's sources by name, without what they differ from its commit in.

    Raises:
        UserError: none were kept.
    """
    below = Path((document.get("experiment") or {}).get("base_dir") or "").name == _FORMERLY
    found = {f"{_FORMERLY}/{name}" if below else name: each for name, each in runs.sources(document).items()}
    found.pop(DIFF, None)
    if not found:
        raise UserError(f"run {document['_id']} has no sources: it was made by other tools, or they are lost")
    return found


def here(document: Document, captured: Iterable[str]) -> dict[str, Captured]:
    """What the files of these names hold now: ours, and the user's own in the working folder or where they were."""
    folders = (PROJECT, Path.cwd(), Path((document.get("experiment") or {}).get("base_dir") or ""))
    found: dict[str, Captured] = {}
    for name in captured:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is not None:
            found[name] = Captured(digest(path, "md5"), path.read_bytes)
    return found


def listing(runs: Runs, document: Document) -> pd.DataFrame:
    """A run's sources, one a row: `file`, `md5`, and `here`: whether the file is the same now."""
    captured = of(runs, document)
    now = here(document, captured)

    def compared(name: str, each: Captured) -> str:
        return "missing" if name not in now else "same" if now[name].md5 == each.md5 else "changed"

    rows = [(name, each.md5, compared(name, each)) for name, each in sorted(captured.items())]
    return pd.DataFrame(rows, columns=["file", "md5", "here"])


def uncommitted(runs: Runs, document: Document) -> str:
    """How a run's sources differ from its commit; nothing where they don't, or there is none."""
    found = runs.sources(document).get(DIFF)
    return _text(found) if found else ""


def changed(before: Mapping[str, Captured], after: Mapping[str, Captured]) -> list[str]:
    """The names of the files that differ, or that one side lacks."""
    old, new = ({name: each.md5 for name, each in side.items()} for side in (before, after))
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def diff(before: Mapping[str, Captured], after: Mapping[str, Captured]) -> Iterator[str]:
    """The lines of a unified diff."""
    for name in changed(before, after):
        yield from _diff(name, before, after)


def summary(before: Mapping[str, Captured], after: Mapping[str, Captured], count: int) -> str:
    """The first `count` files that differ, with the number of lines that came and went; empty where none does."""

    def told(name: str) -> str:
        found = [line[:1] for line in _diff(name, before, after)]
        came, went = found.count("+") - 1, found.count("-") - 1
        return f"{name} (+{max(0, came)} -{max(0, went)})"

    return few(changed(before, after), count, told)


def _diff(name: str, before: Mapping[str, Captured], after: Mapping[str, Captured]) -> Iterator[str]:
    old, new = (_text(side.get(name)).splitlines() for side in (before, after))
    return difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")


def _text(each: Captured | None) -> str:
    content = each.read() if each else None
    return (content or b"").decode("utf-8", "replace")

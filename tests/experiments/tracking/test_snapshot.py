"""The store of sources."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from experiments.tracking.snapshot import DIFF, MAX_SOURCE, PROJECT, Store, project_files


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_a_content_is_kept_once_and_never_changes(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "runs"), tmp_path / "a.py"
    path.write_text("one")
    first = store.keep({"a.py": path, "b/c.py": path}, {DIFF: "+ x"})
    assert first == [["a.py", md5("one")], ["b/c.py", md5("one")], [DIFF, md5("+ x")]]
    os.utime(path, (1, 1))
    path.write_text("two")
    assert store.keep({"a.py": path}, {}) == [["a.py", md5("two")]]
    assert {entry.name for entry in store.folder.iterdir()} == {md5("one"), md5("two"), md5("+ x")}
    assert (store.get(md5("one")), store.get(md5("two")), store.get(md5("three"))) == (b"one", b"two", None)


def test_what_is_lost_is_taken_from_where_it_was_if_it_is_the_same(tmp_path: Path) -> None:
    store, path = Store(tmp_path), tmp_path / "a.py"
    path.write_text("one")
    assert store.find(md5("one"), path) == b"one"
    path.write_text("two")
    assert store.find(md5("one"), path) is None


def test_large_and_missing_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_bytes(bytes(MAX_SOURCE + 1))
    files = {"large.py": tmp_path / "large.py", "missing.py": tmp_path / "missing.py"}
    assert Store(tmp_path).keep(files, {}) == []


def test_the_project_is_all_its_folders() -> None:
    found = project_files()
    assert {name.partition("/")[0] for name in found} == {"framework", "backends", "experiments"}
    assert found["framework/losses.py"] == PROJECT / "framework" / "losses.py"

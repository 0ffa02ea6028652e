"""Which runs a question is put to, and what is made by it: nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest

from experiments.tracking import queries, readers
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.folders import check_root, default_root, found_root, new_run_folder
from experiments.tracking.journals import InJournals
from experiments.tracking.mongod import check_database, open_database
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder
from experiments.tracking.source import InDatabase
from framework.errors import UserError


def journaled(root: Path) -> str:
    with JournalRecorder(new_run_folder(root)) as recorder:
        recorder.started({"seed": 0}, {})
        recorder.ended("COMPLETED", {"a": 1})
    return recorder.uid


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path) -> None:
    with readers.opened(None, False, tmp_path / "none") as runs:
        assert runs.latest({}) == []
    assert list(tmp_path.iterdir()) == []


def test_journals_are_read_where_no_database_was_made(tmp_path: Path) -> None:
    uid = journaled(tmp_path)
    with readers.opened(None, False, tmp_path) as runs:
        assert isinstance(runs, InJournals)
        assert [run["uid"] for run in runs.latest({})] == [uid]
    assert not EmbeddedServer(tmp_path).folder.exists()


def test_journals_are_read_where_the_server_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = journaled(tmp_path)
    (tmp_path / "mongod" / "db").mkdir(parents=True)
    monkeypatch.setenv("EXPERIMENTS_MONGOD", str(tmp_path))
    with readers.opened(None, False, tmp_path) as runs:
        assert queries.find_run(runs, uid)["status"] == "COMPLETED"
    told = f"EXPERIMENTS_MONGOD names '{tmp_path}', which is a folder: this is what the journals have\n"
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.mongod
def test_the_embedded_server_says_what_it_lacks(
    binary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journaled(tmp_path)
    with open_database(None, False, tmp_path, required=True) as destination:
        assert destination.database is not None
        replay(next((tmp_path / "runs").iterdir()), destination.database)
        with readers.opened(None, False, tmp_path):
            assert capsys.readouterr().err == ""
        journaled(tmp_path)
        with readers.opened(None, False, tmp_path) as runs:
            assert isinstance(runs, InDatabase)
            assert len(runs.latest({})) == 1
    assert "1 run is in its journal alone, `python -m experiments.db replay` adds it" in capsys.readouterr().err


def test_runs_are_found_from_folders_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPERIMENTS_DIR", raising=False)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert found_root() == default_root() == below / ".experiments"
    (tmp_path / ".experiments").mkdir()
    assert (found_root(), default_root()) == (tmp_path / ".experiments", below / ".experiments")
    (below / ".experiments").mkdir()
    assert found_root() == below / ".experiments"
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "c"))
    assert found_root() == tmp_path / "c"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EXPERIMENTS_DIR", "~/d")
    assert default_root() == tmp_path / "d"


def test_a_folder_that_cannot_hold_runs_is_refused_and_not_made(tmp_path: Path) -> None:
    check_root(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file is not a folder; EXPERIMENTS_DIR names another"):
        check_root(tmp_path / "file" / "b")
    with pytest.raises(UserError, match=r"its name is not in this locale's encoding, utf-8; PYTHONUTF8=1"):
        check_root(tmp_path / "\udcc3")


@pytest.fixture
def guarded(binary: Path, tmp_path: Path) -> Iterator[str]:
    """The address, `HOST:PORT`, of a server with the accounts `reader` and `writer` and a run called `first`."""
    folder, socket = tmp_path / "db", tmp_path / "s"
    folder.mkdir()
    socket.mkdir()
    command = [str(binary), f"--dbpath={folder}", "--bind_ip=127.0.0.1", f"--unixSocketPrefix={socket}"]
    command += ["--port=0", "--wiredTigerCacheSizeGB=0.25", "--auth", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = _port(server)
        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient("127.0.0.1", port)
        # Without an account, who is on this machine may make the first one.
        client.admin.command("createUser", "root", pwd="root", roles=["root"])
        client.close()
        client = pymongo.MongoClient("127.0.0.1", port, username="root", password="root")
        client.x.runs.insert_one({"_id": "first", "status": "QUEUED"})
        for name, role in (("reader", "read"), ("writer", "readWrite")):
            client.admin.command("createUser", name, pwd=name, roles=[{"role": role, "db": "x"}])
        client.close()
        yield f"127.0.0.1:{port}"
        server.terminate()
        server.communicate()


def _port(server: subprocess.Popen[str]) -> int:
    import json

    assert server.stdout
    deadline = time.monotonic() + 30
    for line in server.stdout:
        said = json.loads(line)
        if said.get("msg") == "Waiting for connections":
            return int(said["attr"]["port"])
        assert time.monotonic() < deadline
    raise AssertionError("it has ended")


def address(guarded: str, name: str, folder: Path) -> str:
    file = folder / name
    file.write_text(f"mongodb://{name}:{name}@{guarded}/x?authSource=admin")
    file.chmod(0o600)
    return f"@{file}"


@pytest.mark.mongod
def test_an_account_that_may_only_read_reads(guarded: str, tmp_path: Path) -> None:
    reader, writer = (address(guarded, name, tmp_path) for name in ("reader", "writer"))
    with readers.opened(reader, False, tmp_path) as runs:
        assert queries.list_runs(runs)["id"].tolist() == ["first"]
        assert queries.find_run(runs, "first")["status"] == "QUEUED"
    # A run is refused before it has done anything, and nothing is made by asking.
    with pytest.raises(UserError, match="the server refuses: not authorized on x"):
        check_database(reader, False)
    check_database(writer, False)
    with open_database(writer, False, tmp_path, writes=False) as destination:
        assert destination.database is not None
        assert destination.database.list_collection_names() == ["runs"]

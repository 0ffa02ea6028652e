"""The embedded server on a port: who may read, who may not, and what runs notice of it."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import OperationFailure

from experiments.runs import main
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import open_database
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder

PROJECT = Path(__file__).parents[3]
pytestmark = [pytest.mark.mongod, pytest.mark.usefixtures("binary")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serving(root: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.db", "serve", "--dir", str(root), "--port", str(port)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, binary: Path) -> Iterator[tuple[Path, Path, int]]:
    """The folder of runs, the file with the address, and the port."""
    root, port = tmp_path_factory.mktemp("served"), free_port()
    with serving(root, port) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving the embedded MongoDB"), process.communicate()[1]
        file = Path(process.stdout.readline().strip().rpartition("@")[2])
        yield root, file, port
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert not file.exists()


def test_the_address_is_its_users_alone_and_reads(
    served: tuple[Path, Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    root, file, _ = served
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # A run that begins now joins the server with the owner's password, which it finds by itself.
    with open_database(None, False, root, required=True) as destination:
        with JournalRecorder(new_run_folder(root)) as recorder:
            recorder.started({"seed": 0}, {})
            recorder.ended("COMPLETED", {"a": 1})
        assert destination.database is not None
        assert replay(recorder.folder, destination.database) == "written"
    with pymongo.MongoClient(file.read_text().strip()) as client:
        runs = client.get_default_database().runs
        assert [run["uid"] for run in runs.find()] == [recorder.uid]
        for write in (
            lambda: runs.insert_one({}),
            lambda: runs.delete_many({}),
            lambda: client.admin.command("usersInfo"),
        ):
            with pytest.raises(OperationFailure, match="not authorized"):
                write()
    assert main(["list", "-m", f"@{file}", "--csv"]) == 0
    assert recorder.uid in capsys.readouterr().out
    password = file.read_text().partition("reader:")[2].partition("@")[0]
    assert password not in str(destination)


def test_without_the_password_nobody_reads(served: tuple[Path, Path, int]) -> None:
    root, _, port = served
    for address in (f"mongodb://127.0.0.1:{port}", EmbeddedServer(root).uri):
        with pymongo.MongoClient(address) as client, pytest.raises(OperationFailure, match="requires authentication"):
            client.patient_teachers.runs.find_one()


def test_a_port_that_is_taken_and_a_server_in_use_are_refused(served: tuple[Path, Path, int], tmp_path: Path) -> None:
    root, _, port = served
    for folder, number, told in (
        (tmp_path, port, f"--port {port}: another program listens there"),
        (root, free_port(), "it is in use, and a port needs a restart"),
        (tmp_path, 70000, "takes a number from 1 to 65535, got '70000'"),
    ):
        with serving(folder, number) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert told in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "mongod").exists()


def test_after_it_runs_need_no_password(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, port) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert EmbeddedServer(tmp_path).stop()
    with open_database(None, False, tmp_path, required=True) as destination:
        assert destination.database is not None
        assert destination.database.runs.count_documents({}) == 0
    assert "port" not in {key for key, value in EmbeddedServer(tmp_path).state().items() if value}

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments.tracking.embedded import MAX_SOCKET_BYTES, EmbeddedError, EmbeddedServer, answers
from experiments.tracking.mongod import open_database

PROJECT = Path(__file__).parents[3]
CLIENT = """
import sys
from pathlib import Path
from experiments.tracking.mongod import open_database
with open_database(None, False, Path(sys.argv[1]), required=True) as destination:
    destination.database.marks.insert_one({})
    print("up", destination.database.client.admin.command("serverStatus")["pid"], flush=True)
    sys.stdin.readline()
"""


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def client(root: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CLIENT, str(root)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


@pytest.mark.usefixtures("binary")
def test_simultaneous_runs_share_one_server_which_stops_after_the_last_even_if_that_was_killed(tmp_path: Path) -> None:
    with client(tmp_path) as first, client(tmp_path) as second, client(tmp_path) as third:
        pids = {process.stdout.readline() for process in (first, second, third) if process.stdout}
        assert len(pids) == 1
        pid = int(pids.pop().split()[1])
        server = EmbeddedServer(tmp_path)
        assert server.state()["used"]
        assert (server.folder.stat().st_mode | server.socket.stat().st_mode) & 0o077 == 0
        first.communicate("\n")
        second.communicate("\n")
        time.sleep(3.0)
        assert not gone(pid)  # the third still uses it
        third.kill()
    assert eventually(lambda: gone(pid))
    assert not server.socket.exists()
    assert not server.state()["running"]


@pytest.mark.usefixtures("binary")
def test_a_killed_server_is_started_again_and_has_what_was_acknowledged(tmp_path: Path) -> None:
    with open_database(None, False, tmp_path, required=True) as destination:
        server = EmbeddedServer(tmp_path)
        assert destination.database is not None
        destination.database.marks.insert_one({"_id": 1})
        os.kill(server.state()["pid"], signal.SIGKILL)
        assert destination.database.marks.count_documents({}) == 1


@pytest.mark.usefixtures("binary")
def test_a_killed_supervisor_takes_its_server_along_and_the_next_run_starts_both(tmp_path: Path) -> None:
    with client(tmp_path) as process:
        assert process.stdout
        pid = int(process.stdout.readline().split()[1])
        server = EmbeddedServer(tmp_path)
        supervisor = server.state()["supervisor"]
        os.kill(supervisor, signal.SIGKILL)
        assert eventually(lambda: gone(supervisor))
        with open_database(None, False, tmp_path, required=True) as destination:
            assert destination.database is not None
            assert destination.database.marks.count_documents({}) == 1
            assert server.state()["pid"] != pid
        assert eventually(lambda: gone(pid))


@pytest.mark.usefixtures("binary")
def test_ctrl_c_in_the_terminal_leaves_the_server_to_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLIENT, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=PROJECT, text=True, start_new_session=True, **pipes) as process:
        assert process.stdout
        process.stdout.readline()
        server = EmbeddedServer(tmp_path)
        state = server.state()
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
        assert not gone(state["pid"])
    assert server.stop()


@pytest.mark.usefixtures("binary")
def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    root = tmp_path / ("x" * 60) / ("y," * 30)
    server = EmbeddedServer(root)
    assert len(os.fsencode(server.socket)) <= MAX_SOCKET_BYTES
    with open_database(None, False, root, required=True) as destination:
        assert destination.database is not None
        assert answers(server.socket)
        assert server.socket.parent.stat().st_mode & 0o077 == 0
    assert server.stop()
    server.socket.parent.rmdir()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 127", "libraries are missing"),
        ("kill -ILL $$", "no AVX"),
        ("echo 'Wrong word' >&2; exit 2", "Wrong word"),
    ],
)
def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    binary = tmp_path / "mongod"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o700)
    monkeypatch.setenv("EXPERIMENTS_MONGOD", str(binary))
    server = EmbeddedServer(tmp_path / "root")
    with pytest.raises(EmbeddedError, match=told):
        server.join()
    assert not server.state()["used"]
    destination = open_database(None, False, tmp_path / "root")
    assert destination.database is None
    assert told in (destination.note or "")
    assert "\n" not in (destination.note or "")

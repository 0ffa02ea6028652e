from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.tracking.embedded import EmbeddedServer, find_mongod
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import VARIABLE, open_database
from experiments.tracking.recorder import JournalRecorder

PROJECT = Path(__file__).parents[2]
needs_mongod = pytest.mark.skipif(find_mongod() is None, reason="no mongod: neither the mongod extra nor one on PATH")


def db(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.run(
        [sys.executable, "-m", "experiments.db", *arguments],
        cwd=PROJECT,
        env={**clean, "EXPERIMENTS_DIR": str(root), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def journaled(root: Path, ended: bool) -> str:
    with JournalRecorder(new_run_folder(root)) as recorder:
        recorder.started({"seed": 0}, {})
        recorder.metrics(1, {"loss": 0.5})
        if ended:
            recorder.ended("COMPLETED", {"a": 1})
    return recorder.uid


@needs_mongod
def test_serve_status_stop_and_replay(tmp_path: Path) -> None:
    uids = [journaled(tmp_path, ended) for ended in (True, False)]
    before = db(tmp_path, "status")
    assert (before.returncode, "not running" in before.stdout, "2 journaled runs, 0 running" in before.stdout) == (
        0,
        True,
        True,
    )
    command = [sys.executable, "-m", "experiments.db", "serve", "--dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout
        assert "serving the embedded MongoDB" in serving.stdout.readline()
        address = serving.stdout.readline().strip()
        assert "running: pid" in db(tmp_path, "status").stdout
        refused = db(tmp_path, "stop")
        assert (refused.returncode, "in use" in refused.stderr) == (2, True)
        first = db(tmp_path, "replay", "-m", address)
        assert (first.returncode, first.stdout[:9]) == (0, "2 written"), first.stderr
        again = db(tmp_path, "replay", uids[0])
        assert again.stdout.startswith("0 written, 1 already there")
        with open_database(address, False, tmp_path) as destination:
            assert destination.database is not None
            runs = {run["uid"]: run["status"] for run in destination.database.runs.find()}
        assert runs == {uids[0]: "COMPLETED", uids[1]: "DEAD"}
        serving.send_signal(signal.SIGINT)
        assert serving.wait(20) == 0
    assert db(tmp_path, "stop", "--now").returncode == 0
    assert not EmbeddedServer(tmp_path).state()["running"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("replay", "-m", "a b"), "is not the address of a MongoDB server"),
        (("replay", "nosuch"), "no journaled run 'nosuch'"),
        (("replay",), "no database: there is no mongod here"),
        (("serve",), "no database: there is no mongod here"),
        (("status", "-m", "x"), "takes no address"),
        (("srve",), "there is no command 'srve': did you mean 'serve'? allowed: replay, serve, status, stop"),
        (("stop", "extra"), "unexpected 'extra'"),
        (("status", "--jsn"), "unknown option --jsn"),
        ((), "required"),
    ],
)
def test_mistakes_are_one_line_and_two(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    journaled(tmp_path / "e", True)
    done = db(tmp_path / "e", *arguments, EXPERIMENTS_MONGOD=str(tmp_path / "missing"))
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("status",), ("stop",), ("replay",)])
def test_nothing_is_made_where_there_is_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = db(tmp_path / "none", *words)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "none").exists()


def test_help_helps(tmp_path: Path) -> None:
    done = db(tmp_path, "--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("serve", "status", "stop", "replay", "embedded server"))

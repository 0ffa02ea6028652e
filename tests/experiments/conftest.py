"""Commands in a process of their own or in this one, each test in its own folder; a teacher for the whole session."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from experiments.tracking.mongod import VARIABLE, open_database

PROJECT = Path(__file__).parents[2]
# What a slow machine prints more of.
# Of each load of data and of weights, a line says what they are.
FOUND = ("data ", "weights ")
PROGRESS = re.compile(r"step \d+/\d+, epoch |compiling the step|the first step|the evaluation before the first step")
# A handful of steps on few evaluations.
SHORT = ("duration.total_steps=4", "schedule.warmup_steps=1", "evaluation.num_times=0", "evaluation.train_subset=10")


class Commands:
    """Runs the project's commands with `root` as their EXPERIMENTS_DIR."""

    def __init__(self, root: Path, backend: str) -> None:
        self.root, self.backend = root, backend
        self._words = () if backend == "none" else (f"backend={backend}",)

    def start(self, module: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "KERAS_BACKEND")}
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=PROJECT,
            env=clean | {"EXPERIMENTS_DIR": str(self.root), "OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        """Wait for the end."""
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        return checked(subprocess.CompletedProcess(process.args, process.returncode, out, err))

    def words(self, *words: str) -> list[str]:
        """A run's flags first, then the words after `with`."""
        flags = [word for word in words if word.startswith("-")]
        others = [word for word in words if not word.startswith("-")]
        return [*flags, "with", *others, *self._words]

    def start_run(self, *words: str, module: str = "experiments.run", **environment: str) -> subprocess.Popen[str]:
        return self.start(module, *self.words(*words), **environment)

    def run(self, *words: str, **rest: str) -> subprocess.CompletedProcess[str]:
        return self.wait(self.start_run(*words, **rest))

    def __call__(self, module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.wait(self.start(module, *words, **environment))


class Here(Commands):
    """The same in this process, for what needs no process of its own: each one imports an engine, for seconds."""

    def run(self, *words: str, module: str = "experiments.run", **environment: str) -> subprocess.CompletedProcess[str]:
        return self(module, *self.words(*words), **environment)

    def __call__(self, module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        program, out, err = importlib.import_module(module).PROGRAM, io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv(VARIABLE, raising=False)
            for name, value in (environment | {"EXPERIMENTS_DIR": str(self.root)}).items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = program.main(words)
        return checked(subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue()))


def checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Whatever a command's end was: no traceback and, beside progress and what was found, little to read."""
    assert "Traceback" not in done.stderr, done.stderr
    told = [line for line in done.stderr.splitlines() if not PROGRESS.match(line) and not line.startswith(FOUND)]
    assert len(told) <= 3, done.stderr
    return done


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all the processes that this session's tests are handed out to."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded data, made once by each process that runs tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def commands(tmp_path: Path, backend: str, cache: Path) -> Commands:
    root = tmp_path / "e"
    root.mkdir(mode=0o700)
    (root / "cache").symlink_to(cache)
    return Commands(root, backend)


@pytest.fixture
def here(commands: Commands) -> Here:
    return Here(commands.root, commands.backend)


@pytest.fixture
def database(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The embedded server's database, which the test's commands share."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with open_database(None, False, commands.root, required=True) as destination:
        yield destination.database


@pytest.fixture(scope="session")
def teacher(shared: Path, backend: str, cache: Path) -> str:
    """The folder of a run that trained a teacher of the ten digits, for a moment."""
    root = shared / "teacher"
    with FileLock(f"{root}.lock"):
        if not list(root.glob("runs/*/student")):
            train_teacher(root, backend, cache)
    (student,) = root.glob("runs/*/student")
    return str(student.parent)


def train_teacher(root: Path, backend: str, cache: Path) -> None:
    root.mkdir()
    (root / "cache").symlink_to(cache)
    words = ("digits_teacher", "duration.total_steps=120", "schedule.warmup_steps=10", "evaluation.num_times=0")
    done = Commands(root, backend).run("-J", *words, module="experiments.teacher")
    assert done.returncode == 0, done.stderr
    (folder,) = (root / "runs").iterdir()
    assert f"stored in {folder / 'student'}, SHA-256 " in done.stdout


@pytest.fixture
def short(teacher: str) -> tuple[str, ...]:
    """The words of a run that ends at once."""
    return ("digits", f"teacher={teacher}", *SHORT)


@pytest.fixture
def said() -> Callable[[subprocess.CompletedProcess[str], int], str]:
    """`said(done, code)`: the last line on stderr of a command that ended with this code."""

    def last(done: subprocess.CompletedProcess[str], code: int) -> str:
        assert done.returncode == code, done.stderr
        return done.stderr.strip().splitlines()[-1]

    return last


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server's, which has the folder `served`."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Not on the tests' stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()

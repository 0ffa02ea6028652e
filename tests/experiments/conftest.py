"""Commands in processes of their own, each test in a folder of its own; one small teacher for the whole session."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.tracking.mongod import VARIABLE, open_database

PROJECT = Path(__file__).parents[2]
# What a slow machine prints more of.
PROGRESS = re.compile(r"step \d+/\d+, epoch ")
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
        """Wait for the end; whatever it was, there is no traceback and, beside progress, little to read."""
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        assert "Traceback" not in err, err
        told = [line for line in err.splitlines() if not PROGRESS.match(line)]
        assert len(told) <= 3, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start_run(self, *words: str, module: str = "experiments.run", **environment: str) -> subprocess.Popen[str]:
        """Start a run: flags first, then the words after `with`."""
        flags = [word for word in words if word.startswith("-")]
        others = [word for word in words if not word.startswith("-")]
        return self.start(module, *flags, "with", *others, *self._words, **environment)

    def run(self, *words: str, **rest: str) -> subprocess.CompletedProcess[str]:
        return self.wait(self.start_run(*words, **rest))

    def __call__(self, module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.wait(self.start(module, *words, **environment))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded data, made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def commands(tmp_path: Path, backend: str, cache: Path) -> Commands:
    root = tmp_path / "e"
    root.mkdir(mode=0o700)
    (root / "cache").symlink_to(cache)
    return Commands(root, backend)


@pytest.fixture
def database(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The embedded server's database, which the test's commands share."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with open_database(None, False, commands.root, required=True) as destination:
        yield destination.database


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, backend: str, cache: Path) -> str:
    """The folder of a run that trained a teacher of the ten digits, for a moment."""
    root = tmp_path_factory.mktemp("teacher")
    (root / "cache").symlink_to(cache)
    words = ("digits_teacher", "duration.total_steps=120", "schedule.warmup_steps=10", "evaluation.num_times=0")
    done = Commands(root, backend).run("-J", *words, module="experiments.teacher")
    assert done.returncode == 0, done.stderr
    (folder,) = (root / "runs").iterdir()
    assert f"stored in {folder / 'student'}, SHA-256 " in done.stdout
    return str(folder)


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

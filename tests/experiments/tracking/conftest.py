"""A real embedded server for the tests of the tracking; each test gets a database of its own."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.tracking.embedded import find_mongod
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import VARIABLE, Destination, open_database
from experiments.tracking.recorder import Pace, Tracker

PROJECT = Path(__file__).parents[3]
_counter = itertools.count()


@pytest.fixture(scope="session")
def binary() -> Path:
    found = find_mongod()
    if found is None:
        pytest.skip("no mongod: neither the mongod extra nor one on PATH")
    return found


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="session")
def server(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Destination]:
    with open_database(None, False, tmp_path_factory.mktemp("server"), required=True) as destination:
        yield destination


@pytest.fixture
def destination(server: Destination, tmp_path: Path) -> Destination:
    """The session's server, a fresh database with its indexes, and journals in the test's own folder."""
    from experiments.tracking.publisher import create_indexes

    assert server.database is not None
    database = server.database.client.get_database(
        f"test_{next(_counter)}", write_concern=server.database.write_concern
    )
    create_indexes(database)
    return Destination(tmp_path, database)


@pytest.fixture
def tracker(destination: Destination) -> Iterator[Tracker]:
    with Tracker(new_run_folder(destination.root), destination, Pace(interval=0.05)) as tracker:
        yield tracker


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in the project's folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        import os

        return subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run

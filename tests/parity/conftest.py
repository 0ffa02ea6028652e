"""Each backend runs once in a process of its own for each kind of comparison; all tests share what it computed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from experiments.parity.measure import Result

ROOT = Path(__file__).parents[2]
BACKENDS = ("jax", "torch", "tensorflow")
Results = dict[str, Result]
Measured = Callable[[str, str], Results]


def compute(backend: str, kind: str, shared: Path) -> Results:
    """Run a worker, or wait for the one that another process of this session runs."""
    if kind.startswith("resumed "):
        for other in BACKENDS:
            compute(other, kind.removeprefix("resumed "), shared)
    folder = shared / f"parity-{backend}-{kind}"
    folder.mkdir(exist_ok=True)
    done = folder / "done"
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            start(backend, kind, folder)
            done.touch()
    return {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}


def start(backend: str, kind: str, folder: Path) -> None:
    environment = os.environ | {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # A state that is gone on with is that of a program which another kind has compiled.
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    if kind in ("mutations", "leak"):
        # More than a dozen steps are compiled here: XLA need not optimise them.
        environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    command = [sys.executable, str(ROOT / "tests/parity/worker.py"), backend, kind, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, f"{backend} {kind}:\n{ended.stderr[-4000:]}"


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """`measured(backend, kind)` gives the arrays by case; the first call starts the kind on every backend."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if parallel else base
    futures: dict[tuple[str, str], Future[Results]] = {}
    with ThreadPoolExecutor(1 if parallel else 2) as pool:

        def get(backend: str, kind: str) -> Results:
            for name in BACKENDS:
                if (name, kind) not in futures:
                    futures[name, kind] = pool.submit(compute, name, kind, shared)
            return futures[backend, kind].result()

        yield get

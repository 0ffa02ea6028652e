"""Starts processes as a launcher does, with its variables in their environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(
    words: Sequence[str], size: int, folder: Path, env: Mapping[str, str] | None = None
) -> list[subprocess.Popen[bytes]]:
    """So many processes of `python -m WORDS`; what each says goes to `folder/N.log`."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {name: value for name, value in os.environ.items() if not name.startswith("KERAS")} | dict(env or {})
    known |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    shared = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(free_port())}
    started = []
    for rank in range(size):
        place = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if size > 1 else {}
        with (folder / f"{rank}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *words],
                    cwd=ROOT,
                    env=known | place,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return started


def ended(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> list[int]:
    """Their exit codes, once all of them have ended; none is left."""
    try:
        return [process.wait(seconds) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def told(folder: Path) -> str:
    return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(folder.glob("*.log")))

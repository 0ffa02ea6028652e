"""The process of one claimed run: started, asked to end, and what it said last."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.distributed.environment import alone
from experiments.tracking import locks
from experiments.tracking.claims import LOCK, RESULT, Claim
from experiments.tracking.folders import new_run_folder
from experiments.tracking.snapshot import PROJECT
from experiments.tracking.supervisor import die_with_parent

# What a run prints while a worker runs it.
OUTPUT = "process.txt"


class Attempt:
    """The folder of one attempt, whose lock says that somebody is at work on it, and the process that runs it.

    Args:
        root: the folder of runs.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, root: Path) -> None:
        self.folder = new_run_folder(root)
        descriptor = locks.opened(self.folder / LOCK)
        assert descriptor is not None, f"{self.folder} is new"
        self._lock = descriptor
        self._asked = False

    def start(self, claim: Claim, uri: str | None, root: Path) -> None:
        """Start it, in the folder where it was queued if that is here: paths and modules may be meant from there.

        It holds the lock, too. It belongs to no terminal: whether a Ctrl-C ends it, its worker says. And several
        workers that one launcher has started are no world: each run is trained alone.
        """
        wanted = Path(claim.document["queue"].get("cwd") or "nowhere")
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        inherited: dict[str, Any] = {"pass_fds": (self._lock,)} if locks.AVAILABLE else {}
        with open(self.folder / OUTPUT, "ab") as output:
            self.process = subprocess.Popen(
                # -P: the folder may hold another copy of the project.
                [sys.executable, "-P", "-m", "experiments.worker.attempt", claim.uid, *(["-m", uri] if uri else [])],
                cwd=wanted if wanted.is_dir() else Path.cwd(),
                env=alone(os.environ) | {"EXPERIMENTS_DIR": str(root), "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
                **inherited,
            )

    def ended(self, seconds: float) -> int | None:
        """Wait so long for its end; its exit code, or None."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def ask(self) -> bool:
        """Ask it to end with a checkpoint, once; whether this was the first time."""
        first, self._asked = not self._asked, True
        if first:
            self.process.terminate()
        return first

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def last_line(self) -> str:
        """What it said last."""
        try:
            lines = (self.folder / OUTPUT).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    def result(self) -> Mapping[str, Any] | None:
        """As what a sweep of students ended, which has no journal of its own; None where it has not."""
        try:
            return dict(json.loads((self.folder / RESULT).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Let go of the claim's lock, which nobody needs from here on."""
        (self.folder / LOCK).unlink(missing_ok=True)
        os.close(self._lock)

    def abandon(self) -> None:
        """Leave nothing behind: nothing was claimed."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

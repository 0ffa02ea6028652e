"""Kills a run wherever it is, lets it go on, and does so again: `python -m tests.experiments.kills --kills 200`.

One process imports what there is to import, and forks a real run for each segment; SIGKILL ends it at a random moment
of a phase. In the end, losses and state must be those of the run that nobody killed, to the last bit.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.resuming import CHECKPOINTS
from experiments.tracking.journal import Journal, read_journal, run_folders
from framework.checkpoint import Checkpoints

PHASES = ("starting", "evaluating", "saving", "logging")
STEPS_PER_KILL = 60
# A kill comes so many seconds after the training's start at the latest, whether or not its phase was met.
LATEST_S = 0.6
WORDS = (
    "digits", "teaching=labels", "student.options.widths=[4]", "batch_size=20", "schedule.warmup_steps=5",
    "evaluation.train_subset=0", "data.test=null", "log_every=1", "checkpoint_steps=7",
)  # fmt: skip


class Campaign:
    """One run and its kills.

    Args:
        root: a folder of its own.
        backend: the engine.
        kills: how many.
        seed: of the moments.
    """

    def __init__(self, root: Path, backend: str, kills: int, seed: int) -> None:
        self.root, self.kills, self.random = root, kills, random.Random(seed)
        steps = STEPS_PER_KILL * kills
        self.words = [*WORDS, f"duration.total_steps={steps}", f"evaluation.num_times={steps // 10}"]
        self.words.append(f"backend={backend}")
        # Shared with the child, and still readable when it is dead.
        self.phases = mmap.mmap(-1, len(PHASES) + 1)
        self.hit: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        """The report as plain values; raises AssertionError where anything was lost."""
        started = time.monotonic()
        whole, killed = self.root / "whole", self.root / "killed"
        assert self._end(self._start(whole)) == 0, self._output(whole)
        for number in range(self.kills):
            self._kill(self._start(killed), PHASES[number % len(PHASES)])
        assert self._end(self._start(killed)) == 0, self._output(killed)
        return {"steps": self._compare(whole, killed), "kills": self.kills, "by phase": dict(self.hit)} | {
            "segments": len(run_folders(killed)),
            "bytes kept": sum(path.stat().st_size for path in killed.glob(f"runs/*/{CHECKPOINTS}/*")),
            "seconds": round(time.monotonic() - started),
        }

    def _start(self, root: Path) -> int:
        kept = list(root.glob(f"runs/*/{CHECKPOINTS}/step_*"))
        words = ["resume=latest"] if kept else self.words
        self.phases[:] = bytes(len(self.phases))
        child = os.fork()
        if not child:
            self._be_a_run(root, ["-J", "with", *words])
        return child

    def _be_a_run(self, root: Path, arguments: list[str]) -> None:
        """In the child: run, marking what it is at, and never return."""
        code = 1
        try:
            os.environ["EXPERIMENTS_DIR"] = str(root)
            root.mkdir(parents=True, exist_ok=True)
            output = os.open(root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            mark(self.phases)
            from experiments.run import PROGRAM

            code = PROGRAM.main(arguments)
        finally:
            os._exit(code)

    def _kill(self, child: int, phase: str) -> None:
        place = PHASES.index(phase)
        if phase == "starting":
            time.sleep(self.random.uniform(0.0, 0.3))
        else:
            self._wait_while(child, lambda: not self.phases[-1], 200.0)
            time.sleep(self.random.uniform(0.05, LATEST_S / 2))
            self._wait_while(child, lambda: not self.phases[place], LATEST_S / 2)
            time.sleep(self.random.choice((0.0, 0.0, 0.0005, 0.002)))
        os.kill(child, signal.SIGKILL)
        code = self._end(child)
        assert code == -signal.SIGKILL, f"the run ended by itself with {code}: {self._output(self.root / 'killed')}"
        at = [name for name, flag in zip(PHASES, self.phases[: len(PHASES)], strict=True) if flag]
        self.hit.update(at or ["training"])

    @staticmethod
    def _wait_while(child: int, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (
            condition()
            and time.monotonic() < deadline
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            pass

    @staticmethod
    def _end(child: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @staticmethod
    def _output(root: Path) -> str:
        return (root / "output.txt").read_text()[-2000:]

    def _compare(self, whole: Path, killed: Path) -> int:
        """Hold what is left against the run that nobody killed; returns its steps."""
        expected, found = losses(whole), losses(killed)
        assert found == expected, {step for step in expected if found.get(step) != expected[step]}
        states = [Checkpoints(run_folders(root)[-1] / CHECKPOINTS).load() for root in (whole, killed)]
        assert states[0][2] == states[1][2] == []
        assert states[0][0].keys() == states[1][0].keys()
        for name, array in states[0][0].items():
            np.testing.assert_array_equal(states[1][0][name], array, err_msg=name)
        assert states[0][1]["best"] == states[1][1]["best"]
        return int(states[0][0]["step"])


def mark(phases: mmap.mmap) -> None:
    """Let the phases of this process's run be seen from outside."""
    from framework.fit import Loop
    from framework.measure import Evaluator

    def marked(owner: Any, name: str, place: int, value: int = 1) -> None:
        call = getattr(owner, name)

        def inside(*arguments: Any, **rest: Any) -> Any:
            phases[place] = value
            try:
                return call(*arguments, **rest)
            finally:
                phases[place] = 0

        setattr(owner, name, inside)

    phases[PHASES.index("starting")] = 1
    marked(Evaluator, "measure", PHASES.index("evaluating"))
    marked(Checkpoints, "save", PHASES.index("saving"))
    marked(Journal, "append", PHASES.index("logging"))
    train = Loop._train

    def training(loop: Loop) -> None:
        phases[PHASES.index("starting")], phases[-1] = 0, 1
        train(loop)

    Loop._train = training  # type: ignore[method-assign]


def losses(root: Path) -> dict[int, float]:
    """Each step's loss; a step that two segments did must have had the same one."""
    found: dict[int, float] = {}
    for folder in run_folders(root):
        for record in read_journal(folder):
            loss = record.get("values", {}).get("train.loss")
            if loss is not None:
                assert found.setdefault(record["step"], loss) == loss, (folder, record)
    return found


def main() -> None:
    """Run a campaign and print its report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default="torch")
    found = parser.parse_args()
    import backends

    backends.load(found.backend)
    import experiments.run  # noqa: F401 - so that no segment has to

    with tempfile.TemporaryDirectory() as folder:
        json.dump(Campaign(Path(folder), found.backend, found.kills, found.seed).run(), sys.stdout)


if __name__ == "__main__":
    main()

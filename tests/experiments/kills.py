"""Kills a run wherever it is, lets it go on, and does so again: `python -m tests.experiments.kills --kills 200`.

One process imports what there is to import, and forks a real run for each segment; SIGKILL ends it at a random moment
of a phase. In the end, losses and state must be those of the run that nobody killed, to the last bit, and a MongoDB
server, to which all of them wrote, must have each step once.
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
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.distillation.lineage import CHECKPOINTS, last_status
from experiments.tracking import queries
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.folders import run_folders
from experiments.tracking.journal import Journal, read_journal
from experiments.tracking.mongod import VARIABLE, open_database
from experiments.tracking.publisher import replay
from experiments.tracking.values import Mongo
from framework.files.checkpoints import Checkpoints

PHASES = ("starting", "evaluating", "saving", "logging")
STEPS = 400
DATABASE = "kills"
# A kill waits so long for its phase, in seconds, and then comes all the same.
PATIENCE_S = 1.0
WORDS = (
    "digits", "teaching=labels", "student.options.widths=[4]", "batch_size=20", "schedule.warmup_steps=5",
    "evaluation.train_subset=0", "data.test=null", "log_every=1", "checkpoint_steps=7",
    f"duration.total_steps={STEPS}", f"evaluation.num_times={STEPS // 10}",
)  # fmt: skip


class Campaign:
    """A run that is killed until it has come to its end; then the same again, until there were enough kills.

    Args:
        root: a folder of its own.
        backend: the engine.
        kills: how many.
        seed: of the moments.
    """

    def __init__(self, root: Path, backend: str, kills: int, seed: int) -> None:
        self.root, self.kills, self.random = root, kills, random.Random(seed)
        self.words = [*WORDS, f"backend={backend}"]
        self.server = EmbeddedServer(root / "server")
        # Shared with the child, and still readable when it is dead.
        self.phases = mmap.mmap(-1, len(PHASES) + 1)
        self.hit: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        """The report as plain values; raises AssertionError where anything was lost."""
        self.server.join()
        try:
            return self._run()
        finally:
            self.server.leave()

    def _run(self) -> dict[str, Any]:
        started, number, rounds = time.monotonic(), 0, 0
        whole = self.root / "whole"
        assert self._end(self._start(whole)) == 0, self._output(whole)
        while number < self.kills:
            killed = self.root / f"killed{rounds}"
            rounds += 1
            while number < self.kills and self._kill(killed, PHASES[number % len(PHASES)]):
                number += 1
            if not self._ended(killed):
                assert self._end(self._start(killed)) == 0, self._output(killed)
            self._compare(whole, killed)
        roots = [whole, *(self.root / f"killed{place}" for place in range(rounds))]
        with open_database(f"{self.server.uri}/{DATABASE}", False, self.root) as destination:
            assert destination.database is not None
            points = sum(in_the_database(destination.database, root) for root in roots)
        return {"kills": number, "by phase": dict(self.hit), "runs": rounds, "steps of each": STEPS} | {
            "segments": sum(len(run_folders(root)) for root in roots[1:]),
            **self._figures(roots),
            "points in the database": points,
            "seconds": round(time.monotonic() - started),
        }

    def _figures(self, roots: list[Path]) -> dict[str, Any]:
        """Steps that were done again, bytes that are kept, and how long a checkpoint kept the training waiting."""
        again = [len(steps) - len(set(steps)) for steps in (done_in(root) for root in roots[1:])]
        (end,) = [record for record in read_journal(run_folders(roots[0])[-1]) if record["type"] == "ended"][-1:]
        saved = end["result"]["checkpoints"]
        kept = list(roots[-1].glob(f"runs/*/{CHECKPOINTS}/*"))
        # The last two and the best of all segments, and nothing that a kill left half written.
        assert len(kept) <= 4, kept
        return {
            "steps done again": sum(again),
            "checkpoints of the whole run": saved["written"],
            "ms blocked per checkpoint": round(1000 * saved["blocked_seconds"] / saved["written"], 3),
            "bytes kept of the last run": sum(path.stat().st_size for path in kept),
        }

    def _start(self, root: Path) -> int:
        kept = list(root.glob(f"runs/*/{CHECKPOINTS}/step_*"))
        words = ["resume=latest"] if kept else self.words
        self.phases[:] = bytes(len(self.phases))
        child = os.fork()
        if not child:
            self._be_a_run(root, ["with", *words])
        return child

    def _be_a_run(self, root: Path, arguments: list[str]) -> None:
        """In the child: run, marking what it is at, and never return."""
        code = 1
        try:
            os.environ |= {"EXPERIMENTS_DIR": str(root), VARIABLE: f"{self.server.uri}/{DATABASE}"}
            root.mkdir(parents=True, exist_ok=True)
            output = os.open(root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            mark(self.phases)
            from experiments.run import PROGRAM

            code = PROGRAM.main(arguments)
        except BaseException:  # noqa: BLE001 - a child says it and ends, whatever it was
            traceback.print_exc()
        finally:
            os._exit(code)

    def _kill(self, root: Path, phase: str) -> bool:
        """Start a segment and kill it; False where it came to its end before."""
        child = self._start(root)
        if phase == "starting":
            time.sleep(self.random.uniform(0.0, 0.3))
        else:
            self._wait(lambda: bool(self.phases[-1]) or self._is_gone(child), 200.0)
            time.sleep(self.random.uniform(0.0, 0.3))
            self._wait(lambda: self._stopped_in(child, phase), PATIENCE_S)
        os.kill(child, signal.SIGKILL)
        code = self._end(child)
        if code == -signal.SIGKILL:
            at = [name for name, flag in zip(PHASES, self.phases[: len(PHASES)], strict=True) if flag]
            self.hit.update(at or ["training"])
            return True
        assert code == 0, f"the run ended by itself with {code}: {self._output(root)}"
        return False

    def _stopped_in(self, child: int, phase: str) -> bool:
        """Stop the child where it seems to be in a phase, and look again: it may have left it meanwhile."""
        place = PHASES.index(phase)
        if self._is_gone(child):
            return True
        if not self.phases[place]:
            return False
        os.kill(child, signal.SIGSTOP)
        os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if not self.phases[place]:
            os.kill(child, signal.SIGCONT)
        return bool(self.phases[place])

    @staticmethod
    def _wait(condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(20e-6)

    @staticmethod
    def _is_gone(child: int) -> bool:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _ended(self, root: Path) -> bool:
        folders = run_folders(root)
        return bool(folders) and last_status(folders[-1]) == "COMPLETED"

    @staticmethod
    def _end(child: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @staticmethod
    def _output(root: Path) -> str:
        return (root / "output.txt").read_text()[-2000:]

    @staticmethod
    def _compare(whole: Path, killed: Path) -> None:
        """Hold what is left against the run that nobody killed."""
        expected, found = losses(whole), losses(killed)
        assert found == expected, {step for step in expected if found.get(step) != expected[step]}
        states = [Checkpoints(run_folders(root)[-1] / CHECKPOINTS).load() for root in (whole, killed)]
        assert states[0][2] == states[1][2] == []
        assert states[0][0].keys() == states[1][0].keys()
        for name, array in states[0][0].items():
            np.testing.assert_array_equal(states[1][0][name], array, err_msg=name)
        assert states[0][1]["best"] == states[1][1]["best"]


def mark(phases: mmap.mmap) -> None:
    """Let the phases of this process's run be seen from outside."""
    from framework.loop.evaluator import Evaluator
    from framework.loop.fit import Loop

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
    marked(Evaluator, "evaluate", PHASES.index("evaluating"))
    marked(Checkpoints, "save", PHASES.index("saving"))
    marked(Journal, "append", PHASES.index("logging"))
    train = Loop._train

    def training(loop: Loop) -> Any:
        phases[PHASES.index("starting")], phases[-1] = 0, 1
        return train(loop)

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


def done_in(root: Path) -> list[int]:
    """The steps of all segments, those that were done again as often as they were."""
    records = [record for folder in run_folders(root) for record in read_journal(folder)]
    return [record["step"] for record in records if "train.loss" in record.get("values", {})]


def in_the_database(database: Mongo, root: Path) -> int:
    """Bring in what killed segments had still to write, hold the curve against the journals; returns its points."""
    folders = run_folders(root)
    for folder in folders:
        assert replay(folder, database) in ("written", "present")
    curve = queries.curves(database, [folders[-1].name], ["train.loss"])
    assert dict(zip(curve["step"], curve["value"], strict=True)) == losses(root)
    assert len(curve) == STEPS
    statuses = [queries.find_run(database, folder.name)["status"] for folder in folders]
    assert statuses == ["DEAD"] * (len(folders) - 1) + ["COMPLETED"], statuses
    assert database.runs.count_documents({"uid": {"$in": [folder.name for folder in folders]}}) == len(folders)
    return len(curve)


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

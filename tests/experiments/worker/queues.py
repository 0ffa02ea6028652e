"""Workers share a queue and are killed at random: `python -m tests.experiments.worker.queues --runs 40 --workers 4`.

Real workers and real runs of a few seconds, on one MongoDB server. Now and then one of them is met by SIGKILL (the
worker, or the process of its run), by SIGTERM, or by SIGSTOP for longer than the others wait for its heartbeat. In the
end each run must have ended once, with the losses of a run that nobody touched, to the last bit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.distillation.lineage import CHECKPOINTS, last_status
from experiments.tracking import queries
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.journal import JOURNAL, read_journal
from experiments.tracking.mongod import VARIABLE, open_database
from experiments.tracking.values import Mongo

PROJECT = Path(__file__).parents[3]
DATABASE = "queues"
WAYS = ("kill worker", "kill run", "ask worker", "freeze both")
LOST_S = 5.0
STEPS = 600
WORDS = (
    "digits", "teaching=labels", "student.options.widths=[4]", "batch_size=20", "schedule.warmup_steps=5",
    "evaluation.train_subset=0", "data.test=null", "log_every=5", "checkpoint_steps=20",
    f"duration.total_steps={STEPS}", "evaluation.num_times=0",
)  # fmt: skip


class Campaign:
    """A queue, its workers, and what befalls them.

    Args:
        root: a folder of its own.
        backend: the engine.
        runs, workers, kills: how many.
        seed: of the moments.
    """

    def __init__(self, root: Path, backend: str, runs: int, workers: int, kills: int, seed: int) -> None:
        self.root, self.runs, self.kills, self.random = root, runs, kills, random.Random(seed)
        self.words = ["with", *WORDS, f"backend={backend}"]
        self.server = EmbeddedServer(root / "server")
        self.environment = os.environ | {
            "EXPERIMENTS_DIR": str(root),
            VARIABLE: f"{self.server.uri}/{DATABASE}",
            "OMP_NUM_THREADS": "1",
        }
        self.output = (root / "workers.txt").open("a")
        self.workers: list[subprocess.Popen[bytes] | None] = [None] * workers
        self.frozen: list[tuple[float, list[int]]] = []
        self.met: Counter[str] = Counter()
        self.had: Counter[int] = Counter()
        self.after = 0.0

    def run(self) -> dict[str, Any]:
        """The report as plain values; raises AssertionError where a run was lost or ended twice."""
        self.server.join()
        try:
            with open_database(f"{self.server.uri}/{DATABASE}", False, self.root) as destination:
                assert destination.database is not None
                return self._run(destination.database)
        finally:
            for _, group in self.frozen:
                send(group, signal.SIGCONT)
            for worker in filter(None, self.workers):
                send([*children(worker.pid), worker.pid], signal.SIGKILL)
                worker.wait()
            self.server.leave()

    def _run(self, database: Mongo) -> dict[str, Any]:
        begun = time.monotonic()
        self._queue()
        queued = time.monotonic()
        while database.runs.count_documents({"status": "COMPLETED"}) < self.runs:
            assert not database.runs.count_documents({"status": "FAILED"}), self._said()
            self._staff()
            self._thaw()
            # One run after the other is met, not the first ones alone.
            done = database.runs.count_documents({"status": "COMPLETED"})
            if sum(self.met.values()) < min(self.kills, (done + len(self.workers)) * self.kills / self.runs):
                self._strike(database)
            time.sleep(self.random.uniform(0.1, 0.5))
        ended = time.monotonic()
        self._thaw(all_of_them=True)
        for worker in filter(None, self.workers):
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(120) in (75, -signal.SIGTERM), self._said()
        return {
            "runs": self.runs,
            "workers": len(self.workers),
            "struck": dict(self.met),
            **self._checked(database),
            "seconds to queue": round(queued - begun),
            "seconds": round(ended - queued),
        }

    def _queue(self) -> None:
        """Queue the runs in this process, after one that nobody touches."""
        from experiments.run import PROGRAM

        os.environ |= self.environment | {"EXPERIMENTS_DIR": str(self.root / "whole")}
        os.environ.pop(VARIABLE)
        assert PROGRAM.main(["-J", *self.words]) == 0
        os.environ |= self.environment
        for _ in range(self.runs):
            assert PROGRAM.main(["-q", *self.words]) == 0

    def _staff(self) -> None:
        """Start a worker where one is missing."""
        for place, worker in enumerate(self.workers):
            if worker is None or worker.poll() is not None:
                command = [sys.executable, "-m", "experiments.worker", "--lost-after", str(LOST_S)]
                self.workers[place] = subprocess.Popen(
                    command, cwd=PROJECT, env=self.environment, stdout=self.output, stderr=self.output
                )

    def _thaw(self, all_of_them: bool = False) -> None:
        now = time.monotonic()
        for group in [group for until, group in self.frozen if all_of_them or until < now]:
            send(group, signal.SIGCONT)
        self.frozen = [] if all_of_them else [each for each in self.frozen if each[0] >= now]

    def _strike(self, database: Mongo) -> None:
        """Meet one of the runs that are under way, one with a checkpoint where that is to be."""
        if time.monotonic() < self.after:
            return
        way = WAYS[sum(self.met.values()) % len(WAYS)]
        busy = list(database.runs.find({"status": "RUNNING"}, {"queue": 1}))
        frozen = {pid for _, group in self.frozen for pid in group}
        late = sum(self.met.values()) % 3 > 0
        for document in self.random.sample(busy, len(busy)):
            attempt = document["queue"]["attempts"][-1]
            worker = next((each for each in self.workers if each and each.pid == attempt["pid"]), None)
            has_begun = any((Path(attempt["folder"]) / CHECKPOINTS).glob("step_*"))
            if worker is None or worker.poll() is not None or worker.pid in frozen or has_begun != late:
                continue
            # A run whose process is killed five times has failed, as it should: that is another test's.
            if way == "kill run" and self.had[document["_id"]] >= 3:
                continue
            below = children(worker.pid)
            if not below:
                continue
            self.met[f"{way}, {'training' if late else 'before a checkpoint'}"] += 1
            self.had[document["_id"]] += way == "kill run"
            self.after = time.monotonic() + self.random.uniform(0, 3)
            if way == "freeze both":
                send([worker.pid, *below], signal.SIGSTOP)
                self.frozen.append((time.monotonic() + self.random.uniform(2, 4) * LOST_S, [worker.pid, *below]))
            else:
                send(below if way == "kill run" else [worker.pid], signal.SIGTERM if "ask" in way else signal.SIGKILL)
            return

    def _checked(self, database: Mongo) -> dict[str, Any]:
        """Hold what is left against what was queued, and each curve against the first."""
        documents = list(database.runs.find().sort("_id", 1))
        assert [each["_id"] for each in documents] == list(range(1, self.runs + 1))
        assert {each["status"] for each in documents} == {"COMPLETED"}
        counts: Counter[str] = Counter()
        (whole,) = (self.root / "whole" / "runs").iterdir()
        records = [each for each in read_journal(whole) if "train.loss" in each.get("values", {})]
        expected = [(each["step"], each["values"]["train.loss"]) for each in records]
        assert expected[-1][0] == STEPS
        for document in documents:
            attempts = document["queue"]["attempts"]
            assert document["queue"]["claim"] == document["uid"] == attempts[-1]["uid"]
            # Whoever claims it does so after it was given back, and it is given back once.
            for before, after in itertools.pairwise(attempts):
                assert before["given_back"] <= after["claimed"], document["queue"]
            assert "given_back" not in attempts[-1]
            counts += tries(attempts)
            frame = queries.curves(database, [document["_id"]], ["train.loss"])
            found = list(zip(frame["step"], frame["value"], strict=True))
            assert found == expected, (document["_id"], attempts)
            assert document["result"]["validation"] == documents[0]["result"]["validation"]
        return {**counts, "losses of each run": len(expected)}

    def _said(self) -> str:
        return (self.root / "workers.txt").read_text()[-3000:]


def tries(attempts: list[dict[str, Any]]) -> Counter[str]:
    """What the attempts at one run were, read from their journals."""
    found: Counter[str] = Counter({"attempts": len(attempts), "runs of one attempt": int(len(attempts) == 1)})
    for each in attempts:
        folder = Path(each["folder"])
        if not (folder / JOURNAL).is_file():
            found["attempts that ended before they began"] += 1
            continue
        records = [record.get("fields", {}) for record in read_journal(folder)]
        found["attempts that went on from a checkpoint"] += any("resumed_at" in fields for fields in records)
        found["results that came too late, and were left out"] += (
            last_status(folder) == "COMPLETED" and each is not attempts[-1]
        )
    assert last_status(Path(attempts[-1]["folder"])) == "COMPLETED"
    return found


def children(pid: int) -> list[int]:
    """The processes that a process has started (Linux)."""
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def send(pids: list[int], number: int) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def main() -> None:
    """Run a campaign and print its report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("runs", 40), ("workers", 4), ("kills", 40), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--backend", default="torch")
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        campaign = Campaign(Path(folder), found.backend, found.runs, found.workers, found.kills, found.seed)
        report = campaign.run()
    print(json.dumps(report))


if __name__ == "__main__":
    main()

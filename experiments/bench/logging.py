"""What checkpoints and logging cost a run: `python -m experiments.bench.logging --backend torch --pairs 5`.

The same run with and without them, by turns in one process, so that what else the machine does meets both alike. With
them: the default cadence, the journal, a MongoDB server, checkpoints. Without them: nothing is read from the device or
written before the end. Both do the same evaluations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import config
from experiments.distillation.distillation import Distillation, tell
from experiments.distillation.prepare import prepare
from experiments.distillation.trained import train_missing
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.folders import default_root, new_run_folder
from experiments.tracking.mongod import open_database
from experiments.tracking.recorder import Tracker
from experiments.tracking.unobserved import NoRecorder
from framework.protocols import Outcome

CLOCKS = ("wall", "cpu")


@dataclass(frozen=True)
class Timed:
    """One run.

    Attributes:
        outcome: how it ended.
        server: whether a server took what it logged.
        wall: seconds of its training loop.
        cpu: seconds of the processor that all of its threads took, evaluations and its end included.
        others: those that the threads beside the training's own took of it.
        told: seconds that the training's thread took to tell its metrics.
    """

    outcome: Outcome
    server: bool
    wall: float
    cpu: float
    others: float
    told: float = 0.0


class Clocked(Tracker):
    """A tracker that knows what it takes of the training's time."""

    told = 0.0

    def metrics(self, step: int, values: Mapping[str, float], at: float | None = None) -> None:
        """See `Tracker`."""
        started = time.thread_time()
        super().metrics(step, values, at)
        self.told += time.thread_time() - started


def measure(words: Sequence[str], place: Path, pairs: int, root: Path | None = None) -> dict[str, Any]:
    """Run by turns, as often with as without.

    Args:
        words: a recipe and its changes, as after `with` on a command line.
        place: a folder of its own for the runs; a server is started in it where there is one.
        pairs: at least 1; one more run before them is not counted.
        root: the folder of caches and teachers, by default where runs go.

    Returns:
        `accounted`, what was done for checkpoints and logs alone, which other work on the machine changes little; for
        each kind of clock the seconds of each run, `with` and `without`, and the cost of each pair in percent with
        its median; what the checkpoints of the last run say about themselves; and whether there was a server. `wall`
        is the training loop's time, `cpu` the time of all threads of the process over the whole run: a machine that
        has other work tells the second more exactly.
    """
    spec, options = config.spec_and_options(config.read(words)[0])
    root = root or default_root()
    train_missing(spec, options, root)
    ready = prepare(spec, options, root=root)
    bare = replace(ready, options=replace(options, log_every=ready.total_steps))
    first = ready.trainer.state()
    runs: dict[bool, list[Timed]] = {True: [], False: []}
    _run(bare, first, None, place)
    for number in range(pairs):
        # The order changes: a machine that grows warm or tired is fair to both.
        for logged in (True, False) if number % 2 else (False, True):
            timed = _run(ready if logged else bare, first, new_run_folder(place) if logged else None, place)
            runs[logged].append(timed)
            tell(f"{'with' if logged else 'without'}: {timed.wall:.2f} s, {timed.cpu:.2f} s of CPU time")
    EmbeddedServer(place).stop()
    last = runs[True][-1]
    told = {"backend": ready.backend.name, "steps": ready.total_steps, "server": last.server}
    clocks = {
        name: _compared(*([getattr(each, name) for each in runs[kind]] for kind in (True, False))) for name in CLOCKS
    }
    return told | clocks | {"accounted": _accounted(last, runs[False][-1]), "checkpoints": _saved(last)}


def _accounted(logged: Timed, bare: Timed) -> dict[str, float]:
    """What was done for checkpoints and logs alone, in seconds, and its share of the run without them in percent."""
    parts = {
        "told_s": logged.told,
        "blocked_s": _saved(logged)["blocked_seconds"],
        "other_threads_s": logged.others - bare.others,
    }
    share = {"percent": 100 * sum(parts.values()) / bare.cpu}
    return {name: round(value, 3) for name, value in (parts | share).items()}


def _saved(timed: Timed) -> dict[str, Any]:
    return dict(timed.outcome.result["checkpoints"])


def _compared(logged: Sequence[float], bare: Sequence[float]) -> dict[str, Any]:
    costs = [100 * (one / other - 1) for one, other in zip(logged, bare, strict=True)]
    return {
        "with": [round(value, 3) for value in logged],
        "without": [round(value, 3) for value in bare],
        "cost_percent": [round(cost, 2) for cost in costs],
        "median_cost_percent": round(statistics.median(costs), 2),
    }


def _run(ready: Distillation, first: Any, folder: Path | None, place: Path) -> Timed:
    """One run from the first step on, logged where it has a folder."""
    ready.trainer.restore(first)
    started, own, told = time.process_time(), time.thread_time(), 0.0
    if folder is None:
        outcome, server = ready.run(NoRecorder(), None, quiet=True).well(), False
    else:
        with open_database(None, False, place) as destination, Clocked(folder, destination) as tracker:
            tracker.started(ready.spec.to_dict(), ready.environment)
            tracker.publish()
            outcome, server = ready.run(tracker, folder, quiet=True).well(), destination.database is not None
            tracker.ended(outcome.status, outcome.result)
            told = tracker.told
    cpu = time.process_time() - started
    return Timed(outcome, server, outcome.result["seconds"], cpu, cpu - (time.thread_time() - own), told)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("words", nargs="*", default=["digits"], help="as after `with`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure([*given.words, f"backend={given.backend}"], Path(folder), given.pairs)
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()

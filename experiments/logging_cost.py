"""What checkpoints and logging cost a run: `python -m experiments.logging_cost --backend torch --pairs 5`.

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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import config
from experiments.distilling import Distillation, NoRecorder, tell
from experiments.preparing import prepare
from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.journal import default_root, new_run_folder
from experiments.tracking.mongod import open_database
from experiments.tracking.recorder import Tracker
from framework.protocols import Outcome


def measure(words: Sequence[str], place: Path, pairs: int, root: Path | None = None) -> dict[str, Any]:
    """Run by turns, as often with as without.

    Args:
        words: a recipe and its changes, as after `with` on a command line.
        place: a folder of its own for the runs; a server is started in it where there is one.
        pairs: at least 1; one more run before them is not counted.
        root: the folder of caches and teachers, by default where runs go.

    Returns:
        `with_s` and `without_s`, the seconds of each run's training loop; `cost_percent`, of each pair, and its median;
        what the checkpoints of the last run say about themselves; and whether there was a server.
    """
    spec, options = config.split(config.read(words)[0])
    ready = prepare(spec, options, root=root or default_root())
    bare = replace(ready, options=replace(options, log_every=ready.total_steps))
    first = ready.trainer.state()
    seconds: dict[str, list[float]] = {"with_s": [], "without_s": []}
    _run(bare, first, None, place)
    for number in range(pairs):
        # The order changes: a machine that grows warm or tired is fair to both.
        for logged in (True, False) if number % 2 else (False, True):
            outcome, server = _run(ready if logged else bare, first, new_run_folder(place) if logged else None, place)
            seconds["with_s" if logged else "without_s"].append(outcome.result["seconds"])
            tell(f"{'with' if logged else 'without'}: {outcome.result['seconds']:.2f} s")
            if logged:
                checkpoints, where = outcome.result["checkpoints"], server
    EmbeddedServer(place).stop()
    costs = [100 * (one / other - 1) for one, other in zip(*seconds.values(), strict=True)]
    return {
        "backend": ready.backend.name,
        "steps": ready.total_steps,
        **{name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "cost_percent": [round(cost, 2) for cost in costs],
        "median_cost_percent": round(statistics.median(costs), 2),
        "checkpoints": checkpoints,
        "server": where,
    }


def _run(ready: Distillation, first: Any, folder: Path | None, root: Path) -> tuple[Outcome, bool]:
    """One run from the first step on, logged where it has a folder; and whether a server took it."""
    ready.trainer.restore(first)
    if folder is None:
        return _whole(ready.run(NoRecorder(), None, quiet=True)), False
    with open_database(None, False, root) as destination, Tracker(folder, destination) as tracker:
        tracker.started(ready.spec.to_dict(), ready.environment)
        tracker.publish()
        outcome = _whole(ready.run(tracker, folder, quiet=True))
        tracker.ended(outcome.status, outcome.result)
        return outcome, destination.database is not None


def _whole(outcome: Outcome) -> Outcome:
    if outcome.error is not None:
        raise outcome.error
    return outcome


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

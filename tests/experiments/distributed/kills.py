"""Kills processes of runs that several compute: `python -m tests.experiments.distributed.kills --kills 20`.

A run begins on a random number of processes; a random one of them is killed at a random moment, and the run resumed on
another number, again and again, until so many were killed; the last segment runs to its end. No process may outlast the
killed one by a minute, no run may be left RUNNING, and the student must be the one of a single undisturbed process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from framework.files.checkpoints import Checkpoints
from tests.backends import worlds
from tests.experiments.distributed.test_ranks import TINY, folders, start

# Longer runs of rounding alone drift apart: 1e-16 after 200 steps, 1e-10 after 800. Adam is faster at that.
STEPS = 600
STEADY = [*TINY, "optimizer=sgd", "optimizer.lr=0.01"]


def statuses(root: Path) -> list[str]:
    """Of all runs, as `runs list` has them."""
    words = [sys.executable, "-m", "experiments.runs", "list", "--journal-only", "--json", "--last", "1000"]
    env = os.environ | {"EXPERIMENTS_DIR": str(root / "e")}
    done = subprocess.run(words, cwd=worlds.ROOT, env=env, capture_output=True, text=True, check=True)
    return [each["status"] for each in json.loads(done.stdout)]


def newest_step(root: Path) -> int:
    kept = list((root / "e" / "runs").glob("*/checkpoints/step_*.safetensors"))
    return max((int(path.stem.split("_")[-1]) for path in kept), default=0)


def killed_once(root: Path, backend: str, dice: random.Random, within: float) -> float:
    """Start or resume on a random number of processes, kill one; the seconds until all had ended."""
    size, known = dice.choice((2, 3)), len(folders(root)) if (root / "e" / "runs").exists() else 0
    words = ["resume=latest"] if newest_step(root) else [*STEADY, f"duration.total_steps={STEPS}"]
    logs, *processes = start(size, root, backend, *words)
    deadline = time.monotonic() + 600
    while len(folders(root)) == known if (root / "e" / "runs").exists() else True:
        if time.monotonic() > deadline:
            for each in processes:
                each.kill()
            raise AssertionError(worlds.told(logs))
        time.sleep(0.05)
    time.sleep(dice.uniform(0.0, within))
    victim = dice.randrange(size)
    processes[victim].kill()
    began = time.monotonic()
    codes = worlds.ended(processes, 60)
    assert all(code in (0, 1, -9) for code in codes), (codes, worlds.told(logs))
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, default=0.5, help="seconds after a run has begun; JAX compiles for ten")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        whole, root = Path(place) / "whole", Path(place) / "killed"
        whole.mkdir()
        root.mkdir()
        logs, *alone = start(1, whole, options.backend, *STEADY, f"duration.total_steps={STEPS}")
        assert worlds.ended(alone, 300) == [0], worlds.told(logs)
        took = [0.0]
        while len(took) <= options.kills and newest_step(root) < STEPS:
            took.append(killed_once(root, options.backend, dice, options.within))
        logs, *last = start(3, root, options.backend, "resume=latest")
        assert worlds.ended(last, 300) == [0] * 3, worlds.told(logs)
        found = statuses(root)
        assert "RUNNING" not in found, found
        expected, _, _ = Checkpoints(folders(whole)[-1] / "checkpoints").load()
        state, _, _ = Checkpoints(folders(root)[-1] / "checkpoints").load()
        distances = {name: float(np.abs(state[name] - array).max()) for name, array in expected.items()}
        worst = max(distances, key=lambda name: distances[name])
        print(f"{len(took) - 1} kills on {options.backend}: all had ended after {max(took):.1f} s at most")
        print(f"runs: { {status: found.count(status) for status in sorted(set(found))} }")
        print(f"weights and moments are {distances[worst]:.2g} from one undisturbed process's at most, in {worst}")
        assert distances[worst] < 1e-9


if __name__ == "__main__":
    main()

"""Several processes of `experiments.run`: one run is recorded, all end together, and any number of them resumes it."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.files.checkpoints import Checkpoints
from tests.backends import worlds

RUN = ["experiments.run", "-J", "with"]
TINY = [
    "data=digits",
    "teachers=[]",
    "teaching=labels",
    "loss.task_weight=1.0",
    "student=convnet",
    "student.options.widths=[4]",
    "views.size=8",
    "batch_size=24",
    "schedule.warmup_steps=5",
    "evaluation.num_times=2",
    "checkpoint_steps=20",
    "rank_timeout=60",
    "precision=float64",
]

pytestmark = [pytest.mark.backend, pytest.mark.timeout(300)]


def start(size: int, root: Path, backend: str, *words: str) -> list[Any]:
    logs = root / f"logs{len(list(root.glob('logs*')))}"
    env = {"EXPERIMENTS_DIR": str(root / "e")}
    return [logs, *worlds.start([*RUN, f"backend={backend}", *words], size, logs, env)]


def folders(root: Path) -> list[Path]:
    return sorted((root / "e" / "runs").iterdir())


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def wait_for(folder: Path, step: int | None) -> None:
    """Until a step is stored, or with None a run has a folder."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        stored = [int(path.stem.split("_")[-1]) for path in folder.glob("e/runs/*/checkpoints/step_*.safetensors")]
        if any(step <= each for each in stored) if step is not None else list(folder.glob("e/runs/*")):
            return
        time.sleep(0.1)
    raise AssertionError(f"no step {step}")


def ends(folder: Path) -> list[dict[str, Any]]:
    return [line for line in journal(folder) if line.get("kind", line.get("type")) == "ended"]


def test_killed_stopped_and_resumed_by_other_numbers(tmp_path: Path, backend: str) -> None:
    long = [*TINY, "duration.total_steps=100000"]
    logs, first, second = start(2, tmp_path, backend, *long)
    wait_for(tmp_path, 20)
    second.kill()
    began = time.monotonic()
    codes = worlds.ended([first, second], 60)
    assert time.monotonic() - began < 60
    assert codes[0] == 1, worlds.told(logs)
    assert "rank 1 died without a word" in worlds.told(logs)
    [folder] = folders(tmp_path)
    assert ends(folder)[-1]["status"] == "FAILED"
    # One of them is asked to end: both do, after the same step, and the first keeps it.
    logs, first, second = start(2, tmp_path, backend, "resume=latest")
    deadline = time.monotonic() + 120
    while len(folders(tmp_path)) == 1 or not list(folders(tmp_path)[-1].glob("checkpoints/step_*")):
        assert time.monotonic() < deadline, worlds.told(logs)
        time.sleep(0.1)
    second.send_signal(signal.SIGTERM)
    assert worlds.ended([first, second], 60) == [75, 75], worlds.told(logs)
    stopped = folders(tmp_path)[-1]
    assert ends(stopped)[-1]["status"] == "PREEMPTED"
    said = (stopped / "ranks" / "rank-1.log").read_text()
    state, _, _ = Checkpoints(stopped / "checkpoints").load()
    assert f"after step {int(state['step'])}" in said
    assert len(list(stopped.glob("journal.jsonl"))) == 1
    # To the end on one process and on two others: the same.
    finals = []
    longer = [f"duration.total_steps={int(state['step']) + 30}", "extend=constant"]
    for size in (1, 2):
        root = tmp_path / str(size)
        shutil.copytree(tmp_path / "e", root / "e")
        logs, *processes = start(size, root, backend, "resume=latest", *longer)
        assert worlds.ended(processes, 120) == [0] * size, worlds.told(logs)
        finals.append(Checkpoints(folders(root)[-1] / "checkpoints").load()[0])
    for name, array in finals[0].items():
        np.testing.assert_allclose(finals[1][name], array, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("when", ["before the first step", "in a step"])
def test_the_first_one_killed_is_named_by_the_others(tmp_path: Path, backend: str, when: str) -> None:
    logs, first, second = start(2, tmp_path, backend, *TINY, "duration.total_steps=100000")
    wait_for(tmp_path, None if when == "before the first step" else 20)
    first.kill()
    assert worlds.ended([first, second], 60) == [-signal.SIGKILL, 1], worlds.told(logs)
    assert "rank 0 died without a word" in (folders(tmp_path)[-1] / "ranks" / "rank-1.log").read_text()


def test_a_mistake_ends_all_and_leaves_nothing(tmp_path: Path, backend: str) -> None:
    logs, *processes = start(2, tmp_path, backend, *TINY, "on_nan=skip")
    assert worlds.ended(processes, 120) == [2, 2], worlds.told(logs)
    told = (logs / "0.log").read_text()
    assert "on_nan = 'skip': several processes don't go back together" in told
    assert not (tmp_path / "e" / "runs").exists()

"""Runs as processes: killed, preempted, on a full disk, and resumed."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.run import PROGRAM
from experiments.tracking import queries
from experiments.tracking.folders import run_folders
from experiments.tracking.journal import read_journal
from framework.files.checkpoints import Checkpoints

pytestmark = pytest.mark.backend


def losses(folders: list[Path]) -> dict[int, float]:
    found: dict[int, float] = {}
    for folder in folders:
        for record in read_journal(folder):
            if record["type"] == "metrics" and "train.loss" in record["values"]:
                found[record["step"]] = record["values"]["train.loss"]
    return found


LONG = ("digits", "student.options.widths=[4]", "teaching=labels", "duration.total_steps=240", "log_every=1")


@pytest.mark.mongod
@pytest.mark.slow
def test_killed_preempted_and_resumed_as_people_do_it(
    commands: Any, database: Any, said: Any, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = (*LONG, "evaluation.num_times=2", "evaluation.train_subset=0", "checkpoint_steps=20")

    def wait_for(segment: int, step: int, process: Any) -> None:
        deadline = time.monotonic() + 200
        while len(folders := run_folders(commands.root)) <= segment or max(losses(folders[segment:]), default=0) < step:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    first = commands.start_run(*words)
    wait_for(0, 60, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = commands.start("experiments.run", "with", "resume=1")
    wait_for(1, 90, second)
    second.send_signal(signal.SIGTERM)
    done = commands.wait(second)
    assert re.search(r"PREEMPTED: .* run 2; to resume: python -m experiments\.run with resume=2$", said(done, 75))
    done = commands("experiments.run", "with", "resume=latest", "checkpoint_minutes=5")
    assert done.returncode == 0, done.stderr
    assert "resuming run" in done.stderr

    # In a process of its own like the others: another number of threads would add up in another order.
    whole = type(commands)(tmp_path / "whole", backend)
    whole.root.mkdir(mode=0o700)
    (whole.root / "cache").symlink_to(commands.root / "cache")
    assert whole.run("-J", *words).returncode == 0
    (uninterrupted,) = run_folders(whole.root)
    folders, expected = run_folders(commands.root), losses([uninterrupted])
    assert losses(folders) == expected
    ends = [Checkpoints(folder / "checkpoints").load()[0] for folder in (folders[2], uninterrupted)]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)
    # What was cut short has given its room to what went on.
    assert [Checkpoints(folder / "checkpoints").paths() for folder in folders[:2]] == [[], []]

    runs = list(database.runs.find(sort=[("_id", 1)]))
    uids = [run["uid"] for run in runs]
    assert [run["status"] for run in runs] == ["DEAD", "PREEMPTED", "COMPLETED"]
    assert [run.get("resumed_from") for run in runs] == [None, uids[0], uids[1]]
    assert [run.get("root_run") for run in runs] == [None, uids[0], uids[0]]
    assert runs[2]["info"]["resumed_at"] == runs[2]["resumed_at"]
    assert runs[2]["config"]["resume"] == uids[1]
    curve = queries.curves(database, [3], ["train.loss"])
    assert dict(zip(curve["step"], curve["value"], strict=True)) == expected
    assert len(curve) == len(expected)

    monkeypatch.setenv("EXPERIMENTS_DIR", str(commands.root))
    assert PROGRAM.main(["with", "resume=3"]) == 0
    assert capsys.readouterr().out == f"run {uids[2]} is finished: there is nothing to do\n"
    assert len(run_folders(commands.root)) == 3


# A disk that takes the small files and none of the checkpoints.
SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
"""


def test_a_full_disk_is_said_and_the_run_goes_on(commands: Any, short: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("resource")
    (tmp_path / "sitecustomize.py").write_text(SMALL_DISK)
    process = commands.start_run("-J", *short, "checkpoint_steps=2", PYTHONPATH=str(tmp_path))
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line.split(": ")[1] for line in warnings[:2]] == ["no checkpoint at step 2", "no checkpoint at step 4"]
    assert "File too large" in warnings[0]
    assert "COMPLETED, but not all could be written" in err.splitlines()[-1]
    assert "accuracy (95 %)" in out
    (folder,) = run_folders(commands.root)
    records = read_journal(folder)
    assert [record["text"] for record in records if record["type"] == "warning"] == warnings
    (end,) = [record for record in records if record["type"] == "ended"]
    assert (end["status"], end["result"]["checkpoints"]["written"]) == ("COMPLETED", 0)

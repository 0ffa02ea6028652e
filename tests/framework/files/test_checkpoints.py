"""A folder keeps the last checkpoints and the best, and a killed writer leaves one that loads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from framework.files.arrays import read_arrays
from framework.files.checkpoints import BEST, BEST_STUDENT, Checkpoints

ROOT = Path(__file__).parents[3]
STATE = {"step": np.asarray(7, np.int64), "student/kérnel": np.arange(4, dtype=np.float32)}
METADATA = {"fingerprint": "ab12", "spec": {"lr": 0.1, "name": "é", "none": None}}


def saved(folder: Path, *steps: int, keep: int = 2) -> Checkpoints:
    checkpoints = Checkpoints(folder / "checkpoints", keep)
    for step in steps:
        path = checkpoints.save(STATE | {"step": np.asarray(step)}, {"at": step})
        assert path == checkpoints.paths()[0]
    return checkpoints


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    assert saved(tmp_path).paths() == []
    checkpoints = saved(tmp_path, 1, 2, 10, keep=2)
    assert [path.name for path in checkpoints.paths()] == ["step_000000010.safetensors", "step_000000002.safetensors"]
    state, metadata, problems = checkpoints.load()
    assert (int(state["step"]), metadata, problems) == (10, {"at": 10}, [])


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    assert int(saved(tmp_path, 999_999_999, 10_000_000_000).load()[0]["step"]) == 10_000_000_000


def test_a_damaged_one_is_told_and_the_one_before_is_taken(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    newest = checkpoints.paths()[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    state, metadata, problems = checkpoints.load()
    assert (int(state["step"]), metadata) == (1, {"at": 1})
    assert len(problems) == 1
    assert str(newest) in problems[0]
    assert "damaged" in problems[0]


def test_no_damage_is_loaded_in_silence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        arrays = {f"student/{name}": rng.normal(size=(40, 30)).astype(np.float32) for name in "abc"}
        checkpoints.save(arrays | {"step": np.asarray(step)}, METADATA | {"at": step})
    newest = checkpoints.paths()[0]
    whole = newest.read_bytes()
    for number in range(200):
        damaged = bytearray(whole)
        if number % 2:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        else:
            del damaged[rng.integers(len(whole)) :]
        newest.write_bytes(damaged)
        state, metadata, problems = checkpoints.load()
        assert (int(state["step"]), metadata["at"], len(problems)) == (1, 1, 1)


def test_round_steps_and_the_best_are_kept_beside_the_last(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2, keep_every=10)
    for step in (5, 10, 15, 20, 25, 27):
        checkpoints.save(STATE | {"step": np.asarray(step)}, {"at": step}, best=step in (5, 15))
    assert [int(path.stem.removeprefix("step_")) for path in checkpoints.paths()] == [27, 25, 20, 10]
    assert read_arrays(tmp_path / BEST)[1] == {"at": 15}
    assert load_file(tmp_path / BEST_STUDENT).keys() == {"kérnel"}
    # The best one is the last that is left when none of the others verifies.
    for path in checkpoints.paths():
        path.write_bytes(b"")
    state, _, problems = checkpoints.load()
    assert (int(state["step"]), len(problems)) == (15, 4)


def test_the_best_is_kept_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("this file system has no links")

    monkeypatch.setattr("os.link", refused)
    saved = Checkpoints(tmp_path).save(STATE, METADATA, best=True)
    assert (tmp_path / BEST).read_bytes() == saved.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, BEST_STUDENT, saved.name]


def test_none_that_verifies_is_an_error_with_every_reason(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    for path in checkpoints.paths():
        path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"step_000000002.*step_000000001"):
        checkpoints.load()
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        Checkpoints(tmp_path / "nowhere").load()


WRITER = """
import sys
from pathlib import Path
import numpy as np
from framework.files.checkpoints import Checkpoints

checkpoints, step = Checkpoints(Path(sys.argv[1])), int(sys.argv[2])
while True:
    step += 1
    checkpoints.save({"step": np.asarray(step), "a": np.full(200_000, step)}, {"at": step})
    print(step, flush=True)
"""


def test_a_killed_writer_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    checkpoints, step = Checkpoints(tmp_path), 0
    for attempt in range(10):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(step)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = int(writer.stdout.readline())
            time.sleep(0.003 * attempt)  # the kills meet different moments of a write
            writer.send_signal(signal.SIGKILL)
            told = max([told, *map(int, writer.stdout.read().split())])
        state, metadata, problems = checkpoints.load()
        # What was told to be written is there, whole; at most one more was written and not told.
        step = int(state["step"])
        assert told <= step <= told + 1
        assert problems == []
        assert metadata == {"at": step}
        assert (state["a"] == step).all()
    saved_once = checkpoints.save({"step": np.asarray(step + 1)}, {})
    assert sorted(tmp_path.iterdir()) == sorted([saved_once, tmp_path / f"step_{step:09d}.safetensors"])

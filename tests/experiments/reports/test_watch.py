from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.reports import following, watch
from experiments.runs import main
from experiments.tracking.folders import new_run_folder
from experiments.tracking.journals import InJournals
from experiments.tracking.mongod import VARIABLE, open_database
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder
from experiments.tracking.source import InDatabase

PROJECT = Path(__file__).parents[3]
CONFIG = {"batch_size": 100, "seed": 0, "duration": {"total_steps": 50}}


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[JournalRecorder]:
    with JournalRecorder(new_run_folder(tmp_path)) as recorder:
        recorder.started(CONFIG, {})
        recorder.annotate(total_steps=200)
        yield recorder


def train(recorder: JournalRecorder, first: int, last: int) -> None:
    """Two steps a second, with an evaluation each ten."""
    for step in range(first, last + 1):
        recorder.metrics(step, {"train.loss": 10 / step}, at=1e9 + step / 2)
        if step % 10 == 0:
            recorder.metrics(step, {"validation.student.accuracy": step / 200}, at=1e9 + step / 2)


def followed(recorder: JournalRecorder) -> following.InJournal:
    return following.InJournal(recorder.uid, recorder.folder)


def test_a_live_run_is_read_on(recorder: JournalRecorder) -> None:
    run = followed(recorder)
    assert (run.look().step, run.look().speed, run.look().runs) == (0, None, True)
    train(recorder, 1, 40)
    state = run.look()
    assert (state.step, state.total, state.last("train.loss")) == (40, 200, 0.25)
    assert state.speed == pytest.approx(2.0)
    assert watch.line(state) == (
        f"run {recorder.uid}: RUNNING, step 40 of 200 (20%), 2 steps/s, 200 images/s, 1 min 20 s left, "
        "training loss 0.25, validation accuracy 20.0%"
    )
    before = run._reader.offset
    train(recorder, 41, 42)
    assert run.look().step == 42
    assert run._reader.offset > before
    recorder.ended("COMPLETED", {"test": {"student": {"accuracy": 0.75, "kl": 0.5}}})
    ended = run.look()
    assert (ended.status, ended.runs) == ("COMPLETED", False)
    assert watch.ending(ended) == ["test accuracy 75.0%, test KL 0.5"]


def test_a_run_without_a_process_is_dead(recorder: JournalRecorder) -> None:
    run = followed(recorder)
    assert run.look().status == "RUNNING"
    recorder.close()
    assert run.look().status == "DEAD"
    assert not run.look().runs


def test_how_a_run_failed_is_told(recorder: JournalRecorder) -> None:
    recorder.ended("FAILED", None, ["Traceback\n", "  x\n", "FloatingPointError: NaN\n"])
    assert watch.ending(followed(recorder).look()) == ["FloatingPointError: NaN"]


def test_long_runs_are_thinned_but_end_with_their_last_step(recorder: JournalRecorder) -> None:
    for step in range(1, 3001):
        recorder.metrics(step, {"train.loss": 1.0})
    state = followed(recorder).look()
    assert 200 <= len(state.curves["train.loss"].steps) <= 401
    assert state.step == 3000


def test_a_pipe_gets_a_line_at_each_evaluation_and_at_the_end(
    recorder: JournalRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = iter((5, 10, 15, 20, 25))

    def sleep(seconds: float) -> None:
        assert seconds == watch.LOOK_S
        last = next(steps, None)
        if last is None:
            recorder.ended("COMPLETED", {"test": {"student": {"accuracy": 0.5}}})
        else:
            train(recorder, last - 4, last)

    watch.watch(followed(recorder), sleep)
    *lines, result = capsys.readouterr().out.splitlines()
    assert [line.split(",")[1].split("(")[0] for line in lines] == [f" step {n} of 200 " for n in (0, 10, 20, 25)]
    assert "COMPLETED" in lines[-1]
    assert result == "test accuracy 50.0%"


@pytest.mark.parametrize(("width", "height", "panels"), [(80, 24, 2), (100, 50, 2), (60, 12, 0)])
def test_a_terminal_gets_curves_that_fit(recorder: JournalRecorder, width: int, height: int, panels: int) -> None:
    train(recorder, 1, 60)
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(watch.picture(followed(recorder).look(), console))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert text.count("┌") == panels
    assert "1 min 10 s left" in " ".join(text.split())
    assert "validation accuracy 30.0%" in " ".join(text.split())
    if panels:
        assert "validation accuracy (%)" in text
        # Steps are whole numbers.
        assert ".0 " not in next(line for line in lines if line.strip().endswith("60"))


def test_the_one_that_runs_is_the_latest(tmp_path: Path) -> None:
    def begun() -> JournalRecorder:
        recorder = JournalRecorder(new_run_folder(tmp_path))
        recorder.started(CONFIG, {})
        return recorder

    with begun() as first:
        second = begun()
        runs = InJournals(tmp_path)
        assert following.follow(runs, tmp_path, None, True).look().name == second.uid
        second.ended("COMPLETED")
        second.close()
        assert following.follow(InJournals(tmp_path), tmp_path, None, True).look().name == first.uid
        assert following.follow(InJournals(tmp_path), tmp_path, second.uid, True).look().status == "COMPLETED"
    assert following.follow(InJournals(tmp_path), tmp_path, None, True).look().name == second.uid


@pytest.mark.mongod
def test_a_database_alone_is_enough(recorder: JournalRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    train(recorder, 1, 20)
    recorder.ended("COMPLETED", {"test": {"student": {"accuracy": 0.5}}})
    recorder.close()
    with open_database(None, False, tmp_path, required=True) as destination:
        database = destination.database
        assert database is not None
        replay(recorder.folder, database)
        live = {"status": "RUNNING", "heartbeat": None, "journal.folder": "/nowhere"}
        database.runs.update_many({}, {"$set": live})
        (recorder.folder / "journal.jsonl").unlink()
        run = following.follow(InDatabase(database), tmp_path, None, False)
        assert isinstance(run, following.InRuns)
        state = run.look()
        assert (state.name, state.status, state.step, state.total, state.speed) == ("1", "RUNNING", 20, 200, None)
        database.metrics.update_one({"name": "train.loss"}, {"$push": {"steps": 30, "values": 0.5}})
        assert (run.look().step, (run.look().speed or 0) > 0) == (30, True)
        database.runs.update_many({}, {"$set": {"heartbeat": moment_ago(3600)}})
        assert run.look().status == "RUNNING? (silent for 60 min)"
        database.runs.update_many({}, {"$set": {"status": "COMPLETED"}})
        assert not run.look().runs


def moment_ago(seconds: float) -> Any:
    from experiments.tracking.documents import moment

    return moment(time.time() - seconds)


def started(root: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.runs", "watch", *words, "--dir", str(root), "--journal-only"]
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, env=clean, stdout=pipe, stderr=pipe, text=True)


def test_ctrl_c_ends_it_quietly(recorder: JournalRecorder, tmp_path: Path) -> None:
    train(recorder, 1, 10)
    process = started(tmp_path)
    assert process.stdout is not None
    assert "step 10 of 200" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


def test_mistakes(tmp_path: Path, recorder: JournalRecorder, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["nosuch", "--dir", str(tmp_path)], "no run 'nosuch'; the latest are: "),
        (["--dir", str(tmp_path / "empty")], "there is no run to watch"),
        (["a", "b"], "unexpected 'b'"),
    ):
        try:
            code = main(["watch", "--journal-only", *words])
        except SystemExit as ended:
            code = ended.code  # type: ignore[assignment]
        out, err = capsys.readouterr()
        assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
        assert told in err
    assert not (tmp_path / "empty").exists()

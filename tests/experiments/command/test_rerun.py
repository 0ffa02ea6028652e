"""A run done again from what is stored of it, and how its sources differ from those here."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.runs import main
from experiments.tracking.folders import new_run_folder, run_folders
from experiments.tracking.journal import read_journal
from experiments.tracking.mongod import VARIABLE
from experiments.tracking.recorder import JournalRecorder

MINE = """
import keras

def build(num_classes, image_size):
    return keras.Sequential([
        keras.Input((image_size, image_size, 3)),
        keras.layers.Flatten(),
        keras.layers.Dense(num_classes, name="logits"),
    ])
"""
Answer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runs(here: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Answer:
    """`runs(words...)`: exit code, stdout and stderr of the command on the test's journals."""
    monkeypatch.delenv(VARIABLE, raising=False)

    def answer(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        name, *rest = words
        code = main([name, "-J", "--dir", str(here.root), *rest])
        out, err = capsys.readouterr()
        return code, out, err

    return answer


def start(folder: Path) -> dict[str, Any]:
    return next(record for record in read_journal(folder) if record["type"] == "run")


@pytest.mark.backend
def test_a_run_is_done_again(
    here: Any, runs: Answer, short: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine_again", raising=False)
    mine = tmp_path / "mine_again.py"
    mine.write_text(MINE)
    done = here.run("-J", "--comment=a word", *short, "student=mine_again:build")
    assert done.returncode == 0, done.stderr
    (first,) = run_folders(here.root)
    code, out, err = runs("rerun", first.name)
    assert code == 0, err
    assert "sources that differ" not in err
    second = run_folders(here.root)[-1]
    assert (second / "student" / "weights.safetensors").read_bytes() == (
        first / "student" / "weights.safetensors"
    ).read_bytes()
    assert start(second)["meta"]["rerun_of"] == first.name

    mine.write_text(MINE.replace("keras.layers.Flatten(),", "keras.layers.GlobalAveragePooling2D(),"))
    monkeypatch.delitem(sys.modules, "mine_again")
    code, out, err = runs("rerun", first.name, "with", "seed=3")
    assert code == 0, err
    told = f"sources that differ from run {first.name}'s: mine_again.py (+1 -1); "
    assert told + f"runs sources {first.name} --diff here shows how" in err
    last = run_folders(here.root)[-1]
    third = start(last)
    assert third["config"] == start(first)["config"] | {"seed": 3}
    assert third["meta"]["config_updates"] == {"seed": 3}

    code, out, _ = runs("sources", first.name, "--csv")
    rows = {row["file"]: row["here"] for row in csv.DictReader(io.StringIO(out))}
    assert (rows["mine_again.py"], rows["framework/losses.py"]) == ("changed", "same")
    for other in ("here", last.name):
        code, out, _ = runs("sources", first.name, "--diff", other)
        changed = [line for line in out.splitlines() if line[:1] in "+-"]
        assert changed == [
            "--- a/mine_again.py",
            "+++ b/mine_again.py",
            "-        keras.layers.Flatten(),",
            "+        keras.layers.GlobalAveragePooling2D(),",
        ]


@pytest.fixture
def other(here: Any) -> str:
    """The uid of a run that is none of ours."""
    with JournalRecorder(new_run_folder(here.root)) as recorder:
        recorder.record("run", config={"seed": 0})
        recorder.ended("COMPLETED")
    return recorder.uid


@pytest.fixture
def given(here: Any) -> str:
    """The uid of a run whose student was handed over."""
    with JournalRecorder(new_run_folder(here.root)) as recorder:
        config = {"data": {"name": "digits"}, "student": {"name": "given"}, "teaching": "labels", "teachers": []}
        recorder.record("run", config=config)
        recorder.ended("COMPLETED")
    return recorder.uid


def test_what_cannot_be_done_again(runs: Answer, other: str, given: str) -> None:
    for words, told in (
        (("rerun", "99"), "no run '99'"),
        (("rerun", other), f"run {other} has no config of a distillation"),
        (("rerun", given), f"run {given}: its models were handed over in Python"),
        (("rerun", given, "seed=3"), "handed over"),
        (("sources", other), f"run {other} has no sources"),
        (("sources", "99"), "no run '99'"),
        (("sources", given, "--diff", "99"), "no sources"),
    ):
        code, out, err = runs(*words)
        assert (code, out, told in err) == (2, "", True), err
        assert len(err.splitlines()) == 1

"""`python -m experiments.runs` where there is no server: in a folder of journals, below one, and in an empty one."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import runs
from experiments.runs import main
from experiments.tracking import tables
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import VARIABLE
from experiments.tracking.recorder import JournalRecorder

PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "EXPERIMENTS_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in (0, 1):
        for teaching in ("funmatch", "same/ic"):
            journaled(
                tmp_path / ".experiments", {"seed": seed, "teaching": teaching, "backend": "jax"}, 0.7 + seed / 10
            )
    return tmp_path / ".experiments"


def journaled(root: Path, config: dict[str, Any], accuracy: float) -> None:
    with JournalRecorder(new_run_folder(root)) as recorder:
        config |= {"data": {"name": "digits"}}
        recorder.record("run", experiment={"name": "run"}, command="main", host={}, config=config, meta={})
        recorder.started(config, {"fingerprint_no_seed": config["teaching"]})
        for step in (1, 2):
            recorder.metrics(step, {"train.loss": accuracy / step})
        recorder.ended("COMPLETED", {"test": {"student": {"accuracy": accuracy}, "teacher": {"accuracy": 0.9}}})


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("command", ["list", "best", "groups"])
def test_a_wrong_folder_is_named_and_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"there are no runs in {tmp_path / '.experiments'};" in answer(capsys, command)
    assert json.loads(answer(capsys, command, "--json")) == []
    assert answer(capsys, command, "--csv").strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_the_folder_above_has_them(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    below = root.parent / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert len(json.loads(answer(capsys, "list", "--json"))) == 4
    assert list(below.iterdir()) == []


def test_the_examples_in_the_help_work(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uids = sorted(path.name for path in (root / "runs").iterdir())
    examples = [line.strip() for line in (runs.__doc__ or "").splitlines() if line.startswith("    python")]
    assert any("--sort -accuracy" in line for line in examples)
    # One that trains is tried in `test_rerun.py`.
    for line in (each for each in examples if " rerun " not in each):
        pytest.importorskip("matplotlib" if "--plot" in line else "pandas")
        words = shlex.split(line.replace("curves.png", str(tmp_path / "curves.png")))[3:]
        words = [{"3": uids[0], "7": uids[1]}.get(word, word) for word in words]
        assert answer(capsys, *words, "--dir", str(root))
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_groups_say_what_differs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = answer(capsys, "groups", "--dir", str(root)).splitlines()
    assert head.split()[:4] == ["spec", "backend", "runs", "seeds"]
    assert [line.split()[0] for line in lines] == ["teaching=funmatch", "teaching=same/ic"]
    assert "fingerprint" not in head
    assert "fingerprint_no_seed" in json.loads(answer(capsys, "groups", "--dir", str(root), "--json"))[0]


def test_curves_of_seeds_are_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("curves", "--where", "data.name=digits", "--mean-over", "seed", "--dir", str(root), "--json")
    points = json.loads(answer(capsys, *words))
    assert {(point["run"], point["step"]): round(point["value"], 6) for point in points} == {
        (f"teaching={teaching} (mean of 2)", step): 0.75 / step
        for teaching in ("funmatch", "same/ic")
        for step in (1, 2)
    }
    assert main(["curves", "--dir", str(root)]) == 2
    assert "curves takes the IDs of runs, or --where" in capsys.readouterr().err


def test_the_readme_s_frames_are_what_is_there(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root.parent)
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    [block] = [block for block in blocks if "InJournals" in block]
    found: dict[str, Any] = {}
    exec(block, found)
    printed = capsys.readouterr().out
    assert re.search(r"funmatch +0\.75 .* 2\b", printed)
    assert found["curves"].shape == (2, 4), "a row a step, a column a run"


def test_a_run_by_its_uid(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uid = next((root / "runs").iterdir()).name
    assert uid in answer(capsys, "show", uid, "--dir", str(root), "--journal-only")
    assert main(["show", "17", "--dir", str(root)]) == 2
    assert "no run '17'; the latest are: " in capsys.readouterr().err


def test_a_run_without_a_result_is_not_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with JournalRecorder(new_run_folder(tmp_path)) as recorder:
        recorder.started({"seed": 0}, {})
    assert main(["best", "--dir", str(tmp_path)]) == 2
    assert "no run has a test accuracy" in capsys.readouterr().err
    assert "DEAD" in answer(capsys, "list", "--dir", str(tmp_path))
    assert answer(capsys, "groups", "--dir", str(tmp_path)).split() == ["spec", "backend", "runs", "seeds", "ids"]


def test_runs_that_never_began_are_a_table() -> None:
    frame = pd.DataFrame([{"id": 1, "status": "QUEUED", "start_time": None}])
    assert tables.usual(frame, "table").to_dict("records") == [{"id": 1, "start_time": None, "status": "QUEUED"}]


def test_head_ends_it_quietly(root: Path) -> None:
    command = (
        f"{shlex.quote(sys.executable)} -m experiments.runs show {next((root / 'runs').iterdir()).name} --dir {root}"
    )
    shell = f'( {command}; echo "ended with $?" >&2 ) | true'
    done = subprocess.run(["sh", "-c", shell], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "ended with 0\n"
    assert os.listdir(root) == ["runs"]

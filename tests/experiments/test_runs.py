from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.runs import main
from experiments.tracking.embedded import find_mongod
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import VARIABLE, open_database
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(find_mongod() is None, reason="no mongod: neither the mongod extra nor one on PATH")


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(VARIABLE, raising=False)
        with open_database(None, False, folder, required=True) as destination:
            assert destination.database is not None
            for backend, accuracy in (("jax", 0.7), ("torch", 0.8)):
                with JournalRecorder(new_run_folder(folder)) as recorder:
                    prints = {"fingerprint": "f", "fingerprint_no_seed": "g"}
                    recorder.started({"seed": 0, "backend": backend}, prints)
                    for step in (1, 2):
                        recorder.metrics(step, {"train.loss": 0.5 / step})
                    recorder.ended("COMPLETED", {"test": {"student": {"accuracy": accuracy}}})
                replay(recorder.folder, destination.database)
            yield folder


def answer(capsys: pytest.CaptureFixture[str], root: Path, *arguments: str) -> str:
    assert main([*arguments, "--dir", str(root)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def runs(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-m", "experiments.runs", *arguments, "--dir", str(root)]
    return subprocess.run(command, cwd=PROJECT, env=clean, capture_output=True, text=True, timeout=60)


def test_list_as_json_csv_and_text(root: Path) -> None:
    found = runs(root, "list", "--sort", "-accuracy", "--json")
    assert found.returncode == 0, found.stderr
    assert [(run["id"], run["config.backend"]) for run in json.loads(found.stdout)] == [(2, "torch"), (1, "jax")]
    table = runs(root, "list", "--where", "config.backend=jax", "--csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [(row["id"], row["result.test.student.accuracy"]) for row in rows] == [("1", "0.7")]
    text = runs(root, "list", "--last", "20")
    assert text.stdout.splitlines()[0].split()[:3] == ["id", "start_time", "status"]
    assert "the same spec, over seeds and backends:" in text.stdout


def test_show_best_compare_and_groups(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "config.backend" in answer(capsys, root, "show", "1")
    assert json.loads(answer(capsys, root, "best", "--count", "1", "--json"))[0]["id"] == 2
    compared = json.loads(answer(capsys, root, "compare", "1", "2", "--json"))
    assert {"part": "config", "field": "backend", "1": "jax", "2": "torch"} in compared
    groups = json.loads(answer(capsys, root, "groups", "--json"))
    assert [group["backend"] for group in groups] == ["jax", "torch"]


def test_a_run_of_its_journal_alone_is_found_by_its_names(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with JournalRecorder(new_run_folder(root)) as recorder:
        recorder.record("id", id="mine")
        recorder.started({"seed": 3, "backend": "jax"}, {})
        recorder.metrics(1, {"train.loss": 7.0})
        recorder.ended("COMPLETED", {})
    try:
        for name in (recorder.uid, "mine", "latest"):
            assert recorder.uid in answer(capsys, root, "show", name)
        assert "7" in answer(capsys, root, "curves", "mine")
        assert json.loads(answer(capsys, root, "compare", "1", "mine", "--json"))
        assert len(json.loads(answer(capsys, root, "list", "--json"))) == 2
    finally:
        shutil.rmtree(recorder.folder)


def test_curves_as_table_csv_and_picture(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in answer(capsys, root, "curves", "1", "2").splitlines()]
    assert lines == [["step", "train.loss", "[1]", "train.loss", "[2]"], ["1", "0.5", "0.5"], ["2", "0.25", "0.25"]]
    rows = list(csv.DictReader(io.StringIO(answer(capsys, root, "curves", "1", "--csv"))))
    assert [(row["step"], row["value"]) for row in rows] == [("1", "0.5"), ("2", "0.25")]
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curves.png"
    answer(capsys, root, "curves", "1", "2", "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "99"), "no run '99'"),
        (("show", "20"), "no run '20'"),  # as the uids begin
        (("compare", "1"), "two runs or more"),
        (("list", "--where", "bakend=jax"), "did you mean 'config.backend'?"),
        (("list", "--sort", "-acuracy"), "did you mean"),
        (("list", "--last", "0"), "whole number"),
        (("curves", "1", "--metric", "train.los"), "did you mean 'train.loss'?"),
        (("list", "-m", "a b"), "is not the address"),
    ],
)
def test_mistakes_are_one_line_and_two(root: Path, arguments: tuple[str, ...], told: str) -> None:
    done = runs(root, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

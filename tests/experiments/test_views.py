"""The command: a sheet of a recipe and of a run, its words, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.views import main


@pytest.fixture
def root(commands: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(commands.root))
    monkeypatch.chdir(tmp_path)
    return Path(commands.root)


@pytest.mark.backend
def test_a_recipe_is_drawn_without_its_teacher(root: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["with", "digits", f"backend={backend}"]
    assert main([*words, "--steps", "0,3", "--examples", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "views.png"
    assert [line.partition("; mixing factor ")[0] for line in out[1:]] == [
        f"step {number}: the same pixels in 100 of 100 pairs" for number in (0, 3)
    ]
    with Image.open("views.png") as picture:
        assert picture.size[0] > 900
    assert not (root / "teachers").exists()
    assert not (root / "runs").exists()
    assert main([*words, "--steps", "3", "--json", "--output", "b.svg"]) == 0
    (step,) = json.loads(capsys.readouterr().out)
    assert step["draws"] == out[2].rpartition(" ")[2]
    assert len({each["student"] for each in step["examples"]}) > 90
    assert all(each["teachers"] == [each["student"]] for each in step["examples"])


@pytest.mark.backend
def test_views_without_anything_random_are_a_fault_where_they_should_differ(
    root: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["digits", "teaching=independent", "views.area=[1.0,1.0]", "views.aspect=[1.0,1.0]", f"backend={backend}"]
    assert main(["with", *words, "--steps", "0"]) == 1
    told = "step 0: the same pixels in 100 of 100 pairs, which is not what teaching=independent means"
    assert told in capsys.readouterr().out


@pytest.mark.backend
def test_a_run_has_its_sheet_in_its_folder(
    root: Path, here: Any, short: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here.run("-J", *short, "teaching=independent").returncode == 0
    (folder,) = (root / "runs").iterdir()
    for name in ("latest", folder.name[:15]):
        assert main([name, "--examples", "1"]) == 0
        out = capsys.readouterr().out.splitlines()
        assert out[0] == str(folder / "views.png")
        # Of the usual steps those that it has.
        assert [line.split(":")[0] for line in out[1:]] == ["step 0", "step 1"]
        (folder / "views.png").unlink()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["with", "digits", "teaching=consistant"], "did you mean 'consistent'?"),
        (["with", "digits", "--steps", "0,x"], "expected whole numbers"),
        (["digits"], "write 'with' before recipes"),
        (["views.size=3"], "write 'with' before recipes"),
        (["latest", "other"], "give one run"),
        (["with", "digits", "--examples", "0"], "must be 1 or more"),
        (["latest"], "no run 'latest'"),
        (["with", "digits", "--stesp", "0"], "--steps"),
    ],
)
def test_mistakes_are_2_and_leave_nothing(
    words: list[str], told: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    err = capsys.readouterr().err
    assert code == 2, err
    assert told in err
    assert len([line for line in err.splitlines() if line.startswith("experiments.views: ")]) == 1
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.backend
def test_a_step_that_a_run_lacks_is_refused(root: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["with", "digits", f"backend={backend}", "duration.total_steps=60", "--steps", "60"]) == 2
    assert "--steps 60: must be 0 to 59: the run has 60 steps" in capsys.readouterr().err

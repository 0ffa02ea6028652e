from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.reports import page, payload, pictures
from experiments.runs import main
from experiments.tracking.folders import run_folders
from experiments.tracking.journals import InJournals
from experiments.tracking.mongod import VARIABLE, open_database
from experiments.tracking.publisher import replay
from experiments.tracking.source import InDatabase


def of_journals(root: Path, *where: str) -> dict[str, Any]:
    runs = InJournals(root)
    return payload.payload(runs, payload.chosen(runs, [], where, None))


def value(found: dict[str, Any], place: int, name: str) -> Any:
    return (
        found["same"].get(name, None)
        if name in found["same"]
        else found["runs"][place]["values"][found["fields"].index(name)]
    )


def test_what_is_alike_is_said_once(root: Path) -> None:
    found = of_journals(root)
    assert found["same"]["config.backend"] == "torch"
    assert set(found["same"]) & set(found["fields"]) == set()
    assert {value(found, place, "config.data.name") for place in range(10)} == {"digits", "glyphs"}
    assert found["left_out"] == []
    assert [len(run.get("line", [])) for run in found["runs"]].count(2) == 2


def test_a_line_is_whole_where_only_one_of_it_is_asked_for(root: Path) -> None:
    runs = InJournals(root)
    later = next(each for each in runs.latest({}) if "resumed_from" in each)
    (run,) = payload.payload(runs, payload.chosen(runs, [later["uid"]], [], None))["runs"]
    assert [each["uid"] for each in run["line"]] == [later["resumed_from"], later["uid"]]
    assert run["line"][1]["resumed_at"] == 40


@pytest.mark.mongod
def test_a_database_and_the_journals_say_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    here = of_journals(root)
    with open_database(None, False, tmp_path, required=True) as destination:
        assert destination.database is not None
        for folder in run_folders(root):
            replay(folder, destination.database)
        # Elsewhere there are no folders: the files come out of the database.
        destination.database.runs.update_many({}, {"$set": {"journal.folder": "/nowhere"}})
        runs = InDatabase(destination.database)
        there = payload.payload(runs, payload.chosen(runs, [], [], None))
    assert there["curves"] == here["curves"]
    assert there["pictures"]["answers"] == here["pictures"]["answers"]
    assert (len(here["pictures"]["sheets"]), there["pictures"]["sheets"]) == (1, {})
    own = ("id", "uid")
    names = [name for name in here["fields"] if name not in own]
    for place in range(10):
        for name in names:
            # MongoDB's times are in milliseconds.
            assert value(there, place, name) == (
                pytest.approx(value(here, place, name), abs=0.002) if name == "duration_s" else value(here, place, name)
            ), name
    assert {run["again"] for run in there["runs"]} == {run["again"] for run in here["runs"]}


def test_many_runs_leave_out_and_tell(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(json.dumps(of_journals(root)))
    monkeypatch.setattr(pictures, "IMAGE_BYTES", 30_000)
    monkeypatch.setattr(pictures, "ROWS", 0)
    found = of_journals(root)
    assert len(json.dumps(found)) < whole / 2
    assert len(found["left_out"]) == 1
    assert "of each run's images with the most disagreement" in found["left_out"][0]
    assert {len(answers["images"]) for answers in found["pictures"]["answers"].values()} <= {*range(5)}
    monkeypatch.setattr(pictures, "IMAGE_BYTES", 0)
    assert any("1 contact sheets" in line for line in of_journals(root)["left_out"])


def test_the_page_loads_nothing_and_ends_in_no_script(root: Path) -> None:
    text = page.page(of_journals(root))
    assert text.count("</script>") == 3
    assert "default-src 'none'" in text
    assert "src=http" not in text.replace('"', "").replace("'", "")
    assert "Copyright (c) 2022 Leon Sorokin" in text


def answered(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["report", "--journal-only", *words])
    return code, "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch"], "no run 'nosuch'; the latest are:"),
        (["--where", "bakend=x"], "no run has a field 'bakend'; did you mean"),
        (["--where", "config.seed=99"], "no runs meet the conditions: nothing to report"),
        (["--output", "report.txt"], "--output report.txt: expected a file that ends in .html"),
        (["--output", "nosuch/report.html"], "--output nosuch/report.html: No such file or directory"),
        (["x", "--last", "3"], "report takes the IDs of runs, or conditions (--where, --last), not both"),
    ],
)
def test_mistakes_leave_nothing(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = answered(capsys, *words, "--dir", str(root))
    assert (code, len(said.strip().splitlines())) == (2, 1)
    assert told in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = answered(capsys, "--dir", str(tmp_path))
    assert (code, said) == (2, f"experiments.runs: there are no runs in {tmp_path}: nothing to report\n")
    assert list(tmp_path.iterdir()) == []


def test_the_latest_and_what_was_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = answered(capsys, "--last", "2", "--dir", str(root))
    assert (code, said.startswith("report.html (2 runs, ")) == (0, True)
    assert "<title>2 runs</title>" in (tmp_path / "report.html").read_text()

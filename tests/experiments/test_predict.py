"""Answers on the command line: which images are meant, in which form, and what is said of those that can't be read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import load_student
from experiments.distillation.student import find_student
from experiments.predict import listed, main
from experiments.tracking.folders import new_run_folder
from experiments.tracking.recorder import JournalRecorder
from framework.errors import UserError
from framework.files import stored
from tests.experiments.conftest import Here
from tests.experiments.distillation.small import CARD

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images in folders, a broken one is made by the tests that want it."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "below/b.JPG", "below/c d.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_files_folders_patterns_and_lists(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(path.relative_to(images)) for path in listed([str(images)])]
    assert names == ["a.png", "below/b.JPG", "below/c d.png"]
    assert listed([str(images / "below" / "*.png"), str(images / "a.png")]) == [
        images / "below" / "c d.png",
        images / "a.png",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{images / 'a.png'}\n\n{images / 'below' / 'c d.png'}\n"))
    assert [path.name for path in listed(["-", str(images / "a.png")])] == ["a.png", "c d.png"]


def test_what_names_nothing_is_refused(images: Path) -> None:
    for word in ("none.png", str(images / "*.webp")):
        with pytest.raises(UserError, match="no such file or folder"):
            listed([word])
    (images.parent / "empty").mkdir()
    with pytest.raises(UserError, match="there is no image in that folder"):
        listed([str(images.parent / "empty")])


@pytest.mark.backend
def test_answers_are_the_students_in_each_form(images: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    student = load_student(ROOT / "experiments" / "stored" / "glyphs", backend)
    paths = listed([str(images)])
    expected = student.predict(paths)
    first = [student.classes[place] for place in expected.argmax(-1)]
    words = ["glyphs", str(images), "--top", "3", "--backend", backend]
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert [row["classes"][0]["class"] for row in rows] == first
    found = [row["classes"][0]["probability"] for row in rows]
    np.testing.assert_allclose(found, expected.max(-1), atol=1e-4)
    assert main([*words, "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["class1"] for row in table] == first
    assert list(table[0]) == ["path", "class1", "p1", "class2", "p2", "class3", "p3"]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"{paths[0]}: {first[0]} ")


@pytest.mark.backend
def test_a_bad_image_is_named_and_the_others_are_answered(
    images: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.png").write_bytes(b"no image")
    assert main(["glyphs", str(images), "--backend", backend]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "experiments.predict:" in err
    assert "broken.png" in err
    assert "1 of 4 images could not be read" in err
    # Where none can be read, too.
    assert main(["glyphs", str(images / "broken.png"), "--backend", backend]) == 1
    out, err = capsys.readouterr()
    assert (out, "1 of 1 images could not be read" in err, len(err.splitlines())) == ("", True, 2)


@pytest.mark.backend
def test_the_teachers_answer_stands_beside_the_students(
    images: Path,
    here: Here,
    short: tuple[str, ...],
    teacher: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert here.run("-J", *short).returncode == 0
    monkeypatch.setenv("EXPERIMENTS_DIR", str(here.root))
    (folder,) = (here.root / "runs").iterdir()
    paths, words = listed([str(images)]), ["latest", str(images), "--teacher"]
    student, other = (load_student(each, here.backend) for each in (folder, teacher))
    own, theirs = ([each.classes[place] for place in each.predict(paths).argmax(-1)] for each in (student, other))
    assert main([*words, "--json", "--top", "2"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["classes"][0]["class"] for row in rows] == own
    assert [row["teacher"][0]["class"] for row in rows] == theirs
    np.testing.assert_allclose(
        [row["teacher"][0]["probability"] for row in rows], other.predict(paths).max(-1), atol=1e-5
    )
    assert [row["agree"] for row in rows] == [mine == its for mine, its in zip(own, theirs, strict=True)]
    assert f"student and teacher agree on {sum(row['agree'] for row in rows)} of 3 images" in err
    assert main([*words, "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["teacher_class1"], row["agree"] == "True") for row in table] == [
        (row["teacher"][0]["class"], row["agree"]) for row in rows
    ]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(" | disagree") for line in lines] == [not row["agree"] for row in rows]
    assert all(" | teacher: " in line for line in lines)
    assert main([teacher, str(images), "--teacher"]) == 2
    assert "was trained on labels, without a teacher" in capsys.readouterr().err
    assert main(["glyphs", str(images), "--teacher"]) == 2
    assert "doesn't say who taught it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["latest", "IMAGES"], "no stored student"),
        (["glyphs", "IMAGES", "--top", "0"], "--top 0"),
        (["./nowhere", "IMAGES"], "./nowhere: there is no stored student"),
        (["glyphs"], "IMAGE"),
        (["glyphs", "IMAGES", "--jsn"], "--jsn"),
    ],
)
def test_mistakes_are_one_line_and_two(
    words: list[str],
    told: str,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = tmp_path / "no-mongod"
    monkeypatch.setenv("EXPERIMENTS_MONGOD", str(missing))
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "runs"))
    known = {"IMAGES": str(images)}
    try:
        code = main([known.get(word, word) for word in words])
    except SystemExit as error:
        code = int(error.code or 0)
    err = capsys.readouterr().err
    assert (code, len(err.splitlines())) == (2, 1), err
    assert told in err


def test_without_a_database_the_journals_know_the_runs(tmp_path: Path) -> None:
    folders = []
    for accuracy in (0.5, 0.9, 0.7):
        with JournalRecorder(new_run_folder(tmp_path)) as recorder:
            recorder.started({}, {})
            recorder.record("id", id=f"of {accuracy}")
            recorder.ended("COMPLETED", {"validation": {"student": {"accuracy": accuracy}}})
        folders.append(tmp_path / "runs" / recorder.uid / "student")
        stored.save(folders[-1], CARD, {"head/bias": np.zeros(2, np.float32)})
    found = {name: find_student(name, tmp_path) for name in ("latest", "best", "of 0.7", folders[0].parent.name)}
    assert list(found.values()) == [folders[2], folders[1], folders[2], folders[0]]
    with pytest.raises(UserError, match=r"no run 'nosuch'; the latest are: "):
        find_student("nosuch", tmp_path)
    (tmp_path / "teacher.pt").touch()
    with pytest.raises(UserError, match=r"teacher\.pt is no stored model: expected latest, best, a run, the folder"):
        find_student(str(tmp_path / "teacher.pt"), tmp_path)

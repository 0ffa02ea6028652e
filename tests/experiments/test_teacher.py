"""`python -m experiments.teacher`: what it refuses; the teachers that it makes are used all over `test_run.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.teacher import PROGRAM
from experiments.tracking.journal import read_journal
from framework.files import stored
from framework.files.arrays import digest


def test_a_config_with_a_teacher_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main(["with", "digits"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "experiments.teacher: this command trains on labels: add teaching=labels" in err


def test_help_has_its_own_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main(["help"]) == 0
    out = capsys.readouterr().out
    assert "usage: python -m experiments.teacher" in out
    assert "  python -m experiments.teacher plan with pet_teacher\n" in out
    assert "(glyphs_teacher where none is named; python -m experiments.teacher with RECIPE)" in out
    assert "student.weights=PATH_OR_URL" in out


@pytest.mark.backend
def test_what_is_stored_says_what_it_is(teacher: str) -> None:
    folder = Path(teacher)
    card = stored.load_card(folder / "student")
    assert (card.name, card.num_classes, card.image_size) == ("convnet", 10, 8)
    assert card.classes == tuple("0123456789")
    assert card.sha256 == digest(folder / "student" / stored.WEIGHTS)
    assert card.result["test"]["student"]["accuracy"] > 0.3
    assert card.made_by.startswith("python -m experiments.teacher -J with digits_teacher duration.total_steps=120")
    records: list[dict[str, Any]] = read_journal(folder)
    (started,) = [record for record in records if record["type"] == "started"]
    assert started["environment"]["fingerprint"] == card.fingerprint
    names = {Path(record["path"]).name for record in records if record["type"] == "artifact" and "path" in record}
    assert names <= {stored.CARD, stored.WEIGHTS, "answers.json"}

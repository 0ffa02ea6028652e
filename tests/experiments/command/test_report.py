"""The report's numbers are the result's, and its intervals are Wilson's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.command import report as module
from experiments.command.report import interval, report
from experiments.config import recipe_spec
from framework.protocols import Outcome
from framework.spec import DistillSpec

RESULT: dict[str, Any] = {
    "seconds": 10.0,
    "steps_per_second": 50.0,
    "test": {
        "examples": 900.0,
        "student": {"accuracy": 0.95, "loss": 0.2, "kl": 0.0812, "agreement@1": 0.96, "agreement@5": 1.0},
        "teacher": {"accuracy": 0.989, "loss": 0.1},
    },
}


def lines(recipe: str, result: dict[str, Any], **spec: Any) -> list[str]:
    ready: Any = SimpleNamespace(spec=recipe_spec(recipe).replace(**spec))
    return report(ready, Outcome("COMPLETED", 1500, result), ["logged here"], ["stored there"]).splitlines()


STORED = module.BASELINES


@pytest.fixture(autouse=True)
def _no_baselines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "BASELINES", tmp_path / "baselines.json")


def test_interval_is_wilsons() -> None:
    # E. B. Wilson 1927: the ends are the shares whose own deviation reaches what was seen.
    low, high = interval(0.95, 900)
    for end in (low, high):
        assert abs(0.95 - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / 900), rel=1e-9)
    assert low < 0.95 < high


@given(st.integers(1, 10**6).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_interval_holds_the_share_and_stays_a_share(counts: tuple[int, int]) -> None:
    hits, count = counts
    low, high = interval(hits / count, count)
    assert 0 <= low <= hits / count <= high <= 1


def test_student_and_teacher_side_by_side() -> None:
    _, head, teacher, student, time, extra, place = lines("digits", RESULT)
    assert head.split() == ["test", "of", "digits,", "900", "images", "accuracy", "(95", "%)", "agreement", "KL"]
    assert teacher.split() == ["teacher", "98.9%", "(98.0%-99.4%)"]
    assert student.split() == ["student", "95.0%", "(93.4%-96.2%)", "96.0%", "0.0812"]
    assert time == "500 steps in 10 s, 5000 images/s"
    assert (extra, place) == ("stored there", "logged here")


def test_labels_have_no_teacher_to_agree_with() -> None:
    result = RESULT | {"test": {"examples": 900.0, "student": {"accuracy": 0.9}}}
    _, _, student, *_ = lines("digits_labels", result)
    assert student.split() == ["trained", "on", "labels", "90.0%", "(87.9%-91.8%)"]


def test_without_labels_there_is_the_closeness() -> None:
    result = RESULT | {"test": {"examples": 900.0, "student": {"kl": 0.5, "agreement@1": 0.25}, "teacher": {}}}
    _, head, _, student, *_ = lines("digits", result)
    assert student.split() == ["student", "25.0%", "0.5000"]
    assert student.index("25.0%") + len("25.0%") == head.index("agreement") + len("agreement")


@pytest.mark.parametrize("split", ["validation", "train"])
def test_another_split_where_there_is_no_test(split: str) -> None:
    result = {"seconds": 10.0, "steps_per_second": 50.0, split: RESULT["test"]}
    assert lines("digits", result)[1].startswith(f"{split} of digits, 900 images")


def test_nothing_measured_is_still_a_report() -> None:
    assert lines("digits", {"seconds": 10.0, "steps_per_second": 50.0})[-1] == "logged here"


def test_the_baseline_is_shown_for_the_same_student_data_and_duration() -> None:
    spec = recipe_spec("digits_labels").to_dict()
    entry = {"spec": spec, "test": {"student": {"accuracy": 0.84}}, "command": "the command"}
    module.BASELINES.write_text(json.dumps([entry | {"spec": spec | {"batch_size": 7}}, entry]))
    text = lines("digits", RESULT)
    (row,) = [number for number, line in enumerate(text) if "on labels with mixup (stored)" in line]
    assert "84.0%" in text[row]
    assert text[row + 1].strip() == "the command"
    assert not any("stored)" in line for line in lines("digits", RESULT, batch_size=50))
    assert not any("stored)" in line for line in lines("digits_labels", RESULT))


def test_the_default_recipe_s_baseline_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BASELINES", STORED)
    assert any("on labels with mixup (stored)" in line for line in lines("glyphs", RESULT))
    (entry,) = json.loads(STORED.read_text())
    assert DistillSpec.from_dict(entry["spec"]) == recipe_spec("glyphs_labels")

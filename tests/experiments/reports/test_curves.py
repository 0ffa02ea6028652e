from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.reports import curves
from experiments.tracking.journals import InJournals
from experiments.tracking.source import Document, points


def collected(root: Path, wanted: Sequence[str] | None = None) -> tuple[list[Document], dict[str, Any]]:
    runs = InJournals(root)
    documents = [each for each in runs.latest({}, None, ["resumed_at"]) if wanted is None or each["uid"] in wanted]
    return documents, curves.collected(runs, {each["_id"]: [each] for each in documents})


def series(found: dict[str, Any], place: int, name: str) -> tuple[list[int], list[float]]:
    number = [metric["name"] for metric in found["metrics"]].index(name)
    (steps, values) = next((each[1], each[2]) for each in found["of"][place] if each[0] == number)
    return found["steps"][steps], values


def test_each_curve_is_there_with_its_steps_once(root: Path) -> None:
    documents, found = collected(root)
    assert found["metrics"][0] == {"name": "validation.student.accuracy", "title": "validation accuracy", "unit": "%"}
    for place, document in enumerate(documents):
        steps, values = series(found, place, "train.loss")
        assert values == pytest.approx([10 / step for step in steps], rel=1e-4)
        if document["status"] == "COMPLETED" and "resumed_from" not in document:
            assert steps == list(range(1, 101))
    # All that began at the beginning share two lists: of every step, and of the evaluations.
    assert len(found["steps"]) <= 6


def test_a_resumed_run_goes_on_where_it_did(root: Path) -> None:
    runs = InJournals(root)
    documents = {each["uid"]: each for each in runs.latest({}, None, ["resumed_at"])}
    later = next(each for each in documents.values() if "resumed_from" in each)
    first = documents[later["resumed_from"]]
    found = curves.collected(runs, {later["_id"]: [first, later]})
    steps, values = series(found, 0, "validation.student.accuracy")
    assert steps == list(range(10, 101, 10))
    assert values == pytest.approx([step / 200 for step in steps])
    own = {name: points.steps.min() for name, points in runs.thinned([later], 1000)[later["_id"]].items()}
    assert own["train.loss"] == 41


def test_what_was_done_again_counts_once() -> None:
    first, later = points([30, 40, 50, 60], [3.0, 4.0, 5.0, 6.0], [0.0] * 4), points([45, 60], [4.5, 6.5], [0.0] * 2)
    found = curves._joined([({}, {"a": first, "b": first}), ({"resumed_at": 40}, {"a": later})])
    assert dict(zip(*map(np.ndarray.tolist, found["a"][:2]), strict=True)) == {30: 3.0, 40: 4.0, 45: 4.5, 60: 6.5}
    assert found["b"].steps.tolist() == [30, 40]


def test_many_runs_have_fewer_points_each(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    assert curves.count_for(1) == 1000
    assert 200 <= curves.count_for(500) <= 300
    assert curves.count_for(10**6) == 40
    monkeypatch.setattr(curves, "POINTS", 1)
    _, found = collected(root)
    steps, _ = series(found, 3, "train.loss")
    assert 20 <= len(steps) <= 41
    assert steps[-1] == 100


def test_numbers_are_short_and_right() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=2000) * 10.0 ** random.integers(-12, 12, 2000)
    short = curves.rounded(values)
    np.testing.assert_allclose(np.array(short, np.float64), values, rtol=5.1e-5)
    assert max(len(repr(value).replace("-", "").split("e")[0].replace(".", "").strip("0")) for value in short) <= 5
    assert curves.rounded([np.inf, -np.inf, np.nan, 0.0, 1.0]) == [None, None, None, 0.0, 1.0]

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.tracking import queries
from experiments.tracking.fields import flatten, literal, parse_condition, resolve
from experiments.tracking.journal import new_run_folder
from experiments.tracking.mongod import Destination
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder
from experiments.tracking.values import Mongo
from framework.errors import UserError

RUNS = (("jax", 0, 0.70, 0.30), ("jax", 1, 0.74, 0.20), ("torch", 0, 0.72, 0.25), ("torch", 0, None, None))


def fill(root: Path, database: Mongo) -> list[str]:
    uids = []
    for backend, seed, accuracy, kl in RUNS:
        with JournalRecorder(new_run_folder(root)) as recorder:
            environment = {"fingerprint": f"f{seed}", "fingerprint_no_seed": "f", "versions": {backend: "1"}}
            recorder.started({"seed": seed, "data": {"name": "glyphs"}, "backend": backend}, environment)
            for step in (1, 2, 2, 3):
                recorder.metrics(step, {"train.loss": 1.0 / step, "train.lr": math.nan}, at=1e9 + step)
            recorder.metrics(2, {"train.loss": 9.0, "test.accuracy": 0.5}, at=1e9 + 5)
            result: dict[str, Any] = {"steps": 3}
            if accuracy is not None:
                result["test"] = {"student": {"accuracy": accuracy, "kl": kl}, "teacher": {"accuracy": 0.84}}
            recorder.ended("COMPLETED" if accuracy else "FAILED", result if accuracy else None)
        replay(recorder.folder, database)
        uids.append(recorder.uid)
    return uids


@pytest.fixture
def database(destination: Destination, tmp_path: Path) -> Mongo:
    assert destination.database is not None
    fill(tmp_path, destination.database)
    return destination.database


def test_list(database: Mongo) -> None:
    frame = queries.list_runs(database)
    assert frame["id"].tolist() == [1, 2, 3, 4]
    assert frame["config.data.name"].tolist() == ["glyphs"] * 4
    by_accuracy = queries.list_runs(database, sort="-result.test.student.accuracy")
    assert by_accuracy["id"].tolist() == [2, 3, 1, 4]
    assert queries.list_runs(database, sort="student.kl")["id"].tolist() == [2, 3, 1, 4]
    assert queries.list_runs(database, last=2)["id"].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        (["config.backend=jax"], [1, 2]),
        (["backend!=jax", "status=COMPLETED"], [3]),
        (["seed>=1"], [2]),
        (["result.test.student.kl<0.26"], [2, 3]),
        (["backend~^to"], [3, 4]),
        (["id>3"], [4]),
        ({"config.seed": 1}, [2]),
        (["seed=17"], []),
    ],
)
def test_conditions(database: Mongo, where: Any, ids: list[int]) -> None:
    frame = queries.list_runs(database, where)
    assert frame["id"].tolist() == ids
    assert "status" in frame


def test_unknown_fields_have_near_matches(database: Mongo) -> None:
    with pytest.raises(UserError, match=r"'config\.bakend'; did you mean 'config\.backend'\?"):
        queries.list_runs(database, ["config.bakend=jax"])
    with pytest.raises(UserError, match=r"'accuracy' could be .*student.*teacher"):
        queries.list_runs(database, sort="accuracy")
    with pytest.raises(UserError, match="is no condition"):
        queries.list_runs(database, ["backend"])
    with pytest.raises(UserError, match="no regular expression"):
        queries.list_runs(database, ["backend~("])


def test_best(database: Mongo) -> None:
    assert queries.best(database)["id"].tolist() == [2, 3, 1]
    assert queries.best(database, "student.kl", count=2)["id"].tolist() == [2, 3]
    assert queries.best(database, "-student.kl", count=1)["id"].tolist() == [1]
    assert queries.best(database, where=["backend=torch"])["id"].tolist() == [3]


def test_ids(database: Mongo) -> None:
    document = queries.find_run(database, 2)
    assert queries.find_run(database, "2") == queries.find_run(database, document["uid"]) == document
    assert queries.find_run(database, document["uid"][:-2]) == document
    with pytest.raises(UserError, match="could be"):
        queries.find_run(database, document["uid"][:8])
    with pytest.raises(UserError, match=r"no run '99'; the latest are: 4 \("):
        queries.find_run(database, 99)


def test_show(database: Mongo) -> None:
    shown = queries.show(database, 1).set_index("field")["value"]
    assert shown["config.backend"] == "jax"
    assert sorted(shown["metrics"]) == ["test.accuracy", "train.loss", "train.lr"]


def test_compare(database: Mongo) -> None:
    frame = queries.compare(database, [1, 3])
    assert list(frame.columns) == [1, 3]
    assert frame.loc["config"].to_dict("index") == {"backend": {1: "jax", 3: "torch"}}
    assert frame.loc[("result", "test.student.accuracy")].tolist() == [0.70, 0.72]
    assert frame.loc[("result", "steps")].tolist() == [3, 3]
    with pytest.raises(UserError, match="two runs or more"):
        queries.compare(database, [1])


def test_curves_have_each_step_once_with_its_last_value(database: Mongo) -> None:
    frame = queries.curves(database, [1, 2], ["train.*"])
    loss = frame[(frame["run"] == 2) & (frame["metric"] == "train.loss")]
    assert loss["step"].tolist() == [1, 2, 3]
    assert loss["value"].tolist() == [1.0, 9.0, 1.0 / 3]
    assert loss["time"].iloc[1] == pd.Timestamp(1e9 + 5, unit="s", tz="UTC")
    assert frame[frame["metric"] == "train.lr"]["value"].isna().all()
    assert set(frame["metric"]) == {"train.loss", "train.lr"}
    assert set(queries.curves(database, [1])["metric"]) == {"train.loss", "train.lr", "test.accuracy"}
    with pytest.raises(UserError, match=r"no metric 'train.los'; did you mean 'train.loss'"):
        queries.curves(database, [1], ["train.los"])


def segment(root: Path, database: Mongo, steps: range, before: str | None = None, at: int = 0) -> str:
    with JournalRecorder(new_run_folder(root)) as recorder:
        if before is not None:
            recorder.annotate(resumed_from=before, root_run=before, resumed_at=at)
        recorder.started({"seed": 0}, {"fingerprint": "f"})
        for step in steps:
            recorder.metrics(step, {"train.loss": float(len(before or "")) + step})
    replay(recorder.folder, database)
    return recorder.uid


def test_the_curves_of_all_segments_are_one(destination: Destination, tmp_path: Path) -> None:
    assert destination.database is not None
    first = segment(tmp_path, destination.database, range(1, 8))
    second = segment(tmp_path, destination.database, range(6, 9), first, 5)
    # It went on from before the second one's start, and so did all that it did differently.
    third = segment(tmp_path, destination.database, range(4, 7), second, 3)
    other = segment(tmp_path, destination.database, range(2, 4), first, 1)
    late = float(len(first))
    expected = {1: 1.0, 2: 2.0, 3: 3.0, 4: late + 4, 5: late + 5, 6: late + 6}
    for run in (second, third):
        frame = queries.curves(destination.database, [run])
        assert dict(zip(frame["step"], frame["value"], strict=True)) == expected
        assert set(frame["uid"]) == {run}
    # Of two runs that went on from the first one, the first one's line is the later one's.
    for run in (first, other):
        frame = queries.curves(destination.database, [run])
        assert dict(zip(frame["step"], frame["value"], strict=True)) == {1: 1.0, 2: late + 2, 3: late + 3}
    shown = queries.list_runs(destination.database)
    assert shown["resumed_from"].tolist()[1:] == [first, second, first]


def test_seeds_of_one_spec_are_a_group_on_each_backend(database: Mongo) -> None:
    frame = queries.by_fingerprint(database, ["student.accuracy", "student.kl"]).set_index("backend")
    assert frame["runs"].to_dict() == {"jax": 2, "torch": 1}
    assert frame.loc["jax", "seeds"] == [0, 1]
    assert frame.loc["jax", "ids"] == [1, 2]
    assert frame.loc["jax", "result.test.student.accuracy mean"] == pytest.approx(0.72)
    assert frame.loc["jax", "result.test.student.accuracy std"] == pytest.approx(0.04 / math.sqrt(2))
    assert frame.loc["jax", "result.test.student.kl max"] == 0.30
    assert frame["fingerprint_no_seed"].tolist() == ["f", "f"]


def test_an_empty_database(destination: Destination) -> None:
    assert destination.database is not None
    assert len(queries.list_runs(destination.database)) == 0
    with pytest.raises(UserError, match="there are no runs"):
        queries.find_run(destination.database, 1)


def test_parsing() -> None:
    assert parse_condition(" a.b >= 3e-3 ") == ("a.b", "$gte", 3e-3)
    assert parse_condition("a=x=y") == ("a", "$eq", "x=y")
    assert parse_condition("a==[1, 2]") == ("a", "$eq", [1, 2])
    assert [literal(text) for text in ("true", "None", "jax", "'3'", "-1")] == [True, None, "jax", "3", -1]
    assert flatten({"a": {"b": {}}, "c": 1}) == {"a.b": {}, "c": 1}
    assert resolve("seed", ["config.seed", "environment.seed"]) == "config.seed"

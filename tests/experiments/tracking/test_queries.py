from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bson import ObjectId

from experiments.tracking import queries
from experiments.tracking.fields import flatten, literal, parse_condition, resolve
from experiments.tracking.folders import new_run_folder, run_folders
from experiments.tracking.journals import InJournals
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
    assert queries.list_runs(database, sort="-accuracy")["id"].tolist() == [2, 3, 1, 4]
    with pytest.raises(UserError, match="is not a condition"):
        queries.list_runs(database, ["backend"])
    with pytest.raises(UserError, match="not a valid regular expression"):
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
    assert frame["spec"].tolist() == ["data.name=glyphs"] * 2


def ended(root: Path, database: Mongo, config: dict[str, Any], fingerprint: str, **result: float) -> None:
    with JournalRecorder(new_run_folder(root)) as recorder:
        recorder.record("run", config=config)
        recorder.started(config, {"fingerprint_no_seed": fingerprint})
        recorder.ended("COMPLETED", {"steps": 1, **result})
    replay(recorder.folder, database)


def test_repeats_of_one_seed_are_no_replicates(destination: Destination, tmp_path: Path) -> None:
    database = destination.database
    assert database is not None
    for seed, accuracy in ((0, 0.5), (0, 0.5), (0, 0.5)):
        ended(tmp_path, database, {"seed": seed}, "f", accuracy=accuracy)
    (row,) = queries.by_fingerprint(database, ["result.accuracy"]).to_dict("records")
    assert (row["runs"], row["seeds"], row["result.accuracy mean"]) == (3, [0], 0.5)
    assert math.isnan(row["result.accuracy std"])
    ended(tmp_path, database, {"seed": 1}, "f", accuracy=0.7)
    (row,) = queries.by_fingerprint(database, ["result.accuracy"]).to_dict("records")
    assert row["result.accuracy mean"] == pytest.approx(0.6)
    assert row["result.accuracy std"] == pytest.approx(0.2 / math.sqrt(2))


def test_groups_are_called_by_what_differs(destination: Destination, tmp_path: Path) -> None:
    assert destination.database is not None
    for seed in (0, 1):
        for teaching in ("same/ic", "funmatch"):
            config = {"seed": seed, "device": f"cpu:{seed}", "teaching": teaching, "batch_size": 8}
            ended(tmp_path, destination.database, config, teaching)
    frame = queries.by_fingerprint(destination.database, ["result.steps"])
    assert frame["spec"].tolist() == ["teaching=funmatch", "teaching=same/ic"]
    # A file of theirs is another one: nothing that has a name differs.
    ended(tmp_path, destination.database, config, "another1")
    texts = queries.by_fingerprint(destination.database, ["result.steps"])["spec"].tolist()
    assert texts == [
        "teaching=funmatch (fingerprint another1)",
        "teaching=funmatch (fingerprint funmatch)",
        "teaching=same/ic",
    ]


def test_levels_of_teachers_are_their_last_values_by_name(tmp_path: Path) -> None:
    teachers = [{"name": "bit"}, {"name": "glyphs"}]
    for count in (1, 2):
        with JournalRecorder(new_run_folder(tmp_path)) as recorder:
            recorder.started({"teachers": teachers[:count]}, {})
            recorder.metrics(1, {"test.teacher.accuracy": 0.1, "test.student.accuracy": 0.2})
            recorder.metrics(2, {"test.teacher.accuracy": 0.9} | ({"test.teacher1.loss": 0.5} if count == 2 else {}))
    runs = InJournals(tmp_path)
    levels = queries.teacher_levels(runs, sorted(folder.name for folder in run_folders(tmp_path)))
    assert levels[["teacher", "metric", "value"]].to_dict("split")["data"] == [
        ["teacher bit", "test.student.accuracy", 0.9],
        ["teachers together", "test.student.accuracy", 0.9],
        ["teacher glyphs", "test.student.loss", 0.5],
    ]


def test_pictures_call_runs_by_short_names_without_what_says_nothing(tmp_path: Path) -> None:
    shared = {"data": {"name": "glyphs"}, "seed": 0}
    taught = {"teachers": [{"name": "bit", "options": {}}], "loss": {"task_weight": 0.0}, "views": {"mixup": None}}
    for config in (
        {"teaching": "funmatch", "optimizer": {"lr": 0.1}} | taught,
        {"teaching": "consistent", "optimizer": {"lr": 0.2}} | taught,
        {"teaching": "labels", "optimizer": {"lr": 0.1}, "teachers": [], "loss": {"task_weight": 1.0}},
    ):
        with JournalRecorder(new_run_folder(tmp_path)) as recorder:
            recorder.started(config | shared, {})
    uids = sorted(folder.name for folder in run_folders(tmp_path))
    labels = queries.labels(InJournals(tmp_path), uids)
    assert sorted(labels.values()) == [
        "teaching=consistent, lr=0.2",
        "teaching=funmatch, lr=0.1",
        "teaching=labels, lr=0.1",
    ]


def test_labels_are_what_differs_or_what_is_asked_for(destination: Destination, tmp_path: Path) -> None:
    assert destination.database is not None
    for seed in (0, 1):
        ended(tmp_path, destination.database, {"seed": seed, "views": {"size": 8 + seed}, "backend": "jax"}, "f")
    label = partial(queries.labels, destination.database, [1, 2])
    assert label() == {1: "seed=0, size=8", 2: "seed=1, size=9"}
    assert label(without="seed") == {1: "size=8", 2: "size=9"}
    assert label(["backend", "size"]) == {1: "backend=jax, views.size=8", 2: "backend=jax, views.size=9"}
    with pytest.raises(UserError, match="no run has a field 'sizes'; did you mean"):
        label(["sizes"])


@pytest.mark.parametrize("name", ["named-run", "2024", ObjectId("5f5f5f5f5f5f5f5f5f5f5f5f")])
def test_other_peoples_runs_are_found(destination: Destination, name: Any) -> None:
    """Sacred itself takes any id, and a queued run has neither a start nor a heartbeat."""
    assert destination.database is not None
    destination.database.runs.insert_one({"_id": name, "status": "QUEUED"})
    (listed,) = queries.list_runs(destination.database)["id"]
    assert queries.find_run(destination.database, str(listed))["_id"] == name
    assert queries.show(destination.database, str(name)).set_index("field")["value"]["status"] == "QUEUED"


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
    assert resolve("lr", ["config.optimizer.lr", "spec.optimizer.lr"]) == "config.optimizer.lr"
    results = [f"result.{split}.{who}.accuracy" for split in ("test", "validation") for who in ("student", "teacher")]
    assert resolve("accuracy", results) == "result.test.student.accuracy"
    for ambiguous in (["a.x", "b.x"], ["config.a.x", "config.b.x"]):
        with pytest.raises(UserError, match=f"'x' could be {', '.join(ambiguous)}"):
            resolve("x", ambiguous)

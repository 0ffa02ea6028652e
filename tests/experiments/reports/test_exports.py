from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.reports import exports
from experiments.runs import main, parse
from experiments.tracking.journals import InJournals


@pytest.fixture(scope="module")
def uids(root: Path) -> list[str]:
    """Of the runs of `root`: two that are done, and the two segments of one."""
    documents = InJournals(root).latest({})
    (later,) = (each for each in documents if "resumed_from" in each)
    done = [each["uid"] for each in documents if each["status"] == "COMPLETED" and each is not later]
    return [*done[:2], later["resumed_from"], later["uid"]]


def exported(root: Path, folder: Path, to: str, *words: str) -> int:
    return main(["export", *words, "--to", to, "--output", str(folder), "--dir", str(root), "--journal-only"])


def test_csv(root: Path, uids: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(root, tmp_path / "x", "csv", *uids) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x'} (3 runs)\n"
    # The last segment of a run has all of it.
    assert {path.stem for path in (tmp_path / "x").iterdir()} == {"runs", *uids[:2], uids[3]}
    for uid in (*uids[:2], uids[3]):
        frame = pd.read_csv(tmp_path / "x" / f"{uid}.csv", parse_dates=["time"])
        assert frame["step"].tolist() == list(range(1, 101))
        assert frame["train.loss"].tolist() == pytest.approx([10 / step for step in range(1, 101)])
        assert frame["validation.student.accuracy"].count() == 10
        assert frame["time"].is_monotonic_increasing
    table = pd.read_csv(tmp_path / "x" / "runs.csv").set_index("id")
    assert table.loc[uids[3], "config.seed"] == 8
    assert table.loc[uids[3], "result.test.student.accuracy"] == 0.95


def test_tensorboard(root: Path, uids: list[str], tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    assert exported(root, tmp_path / "x", "tensorboard", *uids) == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {*uids[:2], uids[3]}
    events = [event for path in (tmp_path / "x" / uids[3]).iterdir() for event in summaries(path)]
    scalars = {
        (value.tag, event.step): value.simple_value
        for event in events
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    }
    losses = {step: value for (tag, step), value in scalars.items() if tag == "train/loss"}
    assert losses == {step: pytest.approx(10 / step) for step in range(1, 101)}
    assert scalars["result/test.student.accuracy", 100] == pytest.approx(0.95)
    stamped = [event.wall_time for event in events if event.step == 1 and event.summary.value[0].tag == "train/loss"]
    (time,) = stamped
    first = InJournals(root).points(uids[2], "train.loss").times[0]
    assert time == pytest.approx(first, abs=1e-3)
    plugins = {value.metadata.plugin_data.plugin_name for event in events for value in event.summary.value}
    assert {"hparams", "text"} <= plugins


def summaries(path: Path) -> Iterator[Any]:
    """The events of a file: length, its checksum, the event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        if event.HasField("summary"):
            yield event


def test_wandb_offline(root: Path, uids: list[str], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert exported(root, tmp_path / "x", "wandb-offline", uids[3]) == 0
    (path,) = (tmp_path / "x" / "wandb").glob("offline-run-*/*.wandb")
    records = list(wandb_records(path))
    (run,) = (record.run for record in records if record.HasField("run"))
    assert run.run_id == uids[3]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["seed"], config["data.name"]) == (8, "digits")
    history = [
        {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert {row["_step"]: row["train/loss"] for row in history} == {
        step: pytest.approx(10 / step) for step in range(1, 101)
    }
    assert [row["_step"] for row in history if "validation/student.accuracy" in row] == list(range(10, 101, 10))
    first = InJournals(root).points(uids[2], "train.loss").times[0]
    assert history[0]["_timestamp"] == pytest.approx(first, abs=1e-3)


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a file in LevelDB's log format: blocks of 32 KiB, in which a record may be cut."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:
            place = math.ceil(place / 2**15) * 2**15
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(whole)
            whole = b""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch", "--to", "csv"], "no run 'nosuch'"),
        (["--to", "excel"], "--to 'excel': allowed: csv, tensorboard, wandb-offline"),
        (["--to", "csv", "--where", "config.seed=99"], "no runs meet the conditions: nothing to export"),
        (["x", "--to", "csv", "--where", "seed=1"], "export takes the IDs of runs, or conditions"),
        ([], "the following arguments are required: --to"),
    ],
)
def test_mistakes_leave_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    try:
        code = main(["export", *words, "--output", str(tmp_path / "x"), "--dir", str(root), "--journal-only"])
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    err = capsys.readouterr().err
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert told in err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_one_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for to, module in (("tensorboard", "tensorboardX"), ("wandb-offline", "wandb")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        assert exported(root, tmp_path / "x", to) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"experiments.runs: --to {to} needs {module}: python -m pip install -c constraints.txt")
        assert len(told.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("x")
    assert exported(root, tmp_path, "csv") == 2
    assert "there is something in it" in capsys.readouterr().err
    assert exported(root, tmp_path / "mine", "csv") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_every_target_is_offered() -> None:
    for to in exports.WRITERS:
        assert parse(["export", "--to", to, "--output", "x"]).to == to

"""A database and the journals beside it, read as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.tracking import both, queries
from experiments.tracking.both import Both
from experiments.tracking.folders import new_run_folder
from experiments.tracking.journals import InJournals
from experiments.tracking.mongod import Destination
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import JournalRecorder
from experiments.tracking.source import InDatabase


def journaled(root: Path, loss: float, resumed: str | None = None) -> JournalRecorder:
    with JournalRecorder(new_run_folder(root)) as recorder:
        if resumed is not None:
            recorder.annotate(resumed_from=resumed, resumed_at=1)
        recorder.started({"seed": 0}, {"fingerprint": "f", "fingerprint_no_seed": "g"})
        recorder.metrics(2 if resumed else 1, {"train.loss": loss})
        recorder.ended("COMPLETED", {"steps": 2})
    return recorder


@pytest.mark.mongod
def test_runs_of_both_are_found_once(destination: Destination, tmp_path: Path) -> None:
    first = journaled(tmp_path, 3.0)
    alone = journaled(tmp_path, 2.0, resumed=first.uid)
    assert destination.database is not None
    replay(first.folder, destination.database)
    runs = Both(InDatabase(destination.database), InJournals(tmp_path))
    assert [document["uid"] for document in runs.latest({})] == [alone.uid, first.uid]
    assert [document["uid"] for document in runs.latest({}, 1)] == [alone.uid]
    # The one in the database has Sacred's number.
    assert [document["_id"] for document in runs.latest({})] == [alone.uid, 1]
    # One run in two segments, of which each is somewhere else.
    curve = queries.curves(runs, [alone.uid], ["train.loss"])
    assert curve["value"].tolist() == [3.0, 2.0]
    assert queries.curves(runs, [first.uid], ["train.loss"])["value"].tolist() == [3.0, 2.0]


def test_without_a_database_the_journals_are_read(tmp_path: Path) -> None:
    recorder = journaled(tmp_path, 1.0)
    with both.opened(None, True, tmp_path) as runs:
        assert isinstance(runs, InJournals)
        assert [document["uid"] for document in runs.latest({})] == [recorder.uid]

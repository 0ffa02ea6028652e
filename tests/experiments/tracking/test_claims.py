"""The queue in a real database: one claim at a time, given back once, and nothing from who has lost it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.runs import main
from experiments.tracking import claims, locks, queries
from experiments.tracking.claims import LOCK, Claim, Watch
from experiments.tracking.dead import mark_dead
from experiments.tracking.folders import new_run_folder
from experiments.tracking.journal import JOURNAL
from experiments.tracking.mongod import Destination
from experiments.tracking.publisher import Publisher, replay
from experiments.tracking.readers import opened
from experiments.tracking.recorder import Pace, Tracker
from experiments.tracking.values import Mongo
from framework.errors import UserError

PROJECT = Path(__file__).parents[3]
# Claims what it is told to, says so, and writes a step now and then until it is killed.
ATTEMPT = """
import sys, time
from pathlib import Path
from experiments.tracking import claims, locks
from experiments.tracking.claims import LOCK
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import open_database
from experiments.tracking.recorder import Pace, Tracker

root, uri, name, steps = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
with open_database(f"{uri}/{name}", False, root) as destination:
    folder = new_run_folder(root)
    lock = locks.opened(folder / LOCK)
    claim = claims.claim(destination.database, {}, folder)
    with Tracker(folder, destination, Pace(interval=0.02)) as tracker:
        for step in range(1, steps + 1):
            tracker.metrics(step, {"loss": float(step)})
            if step == 50:
                tracker.publish()
                print(claim.number, flush=True)
            time.sleep(0.001)
        tracker.ended("COMPLETED", {"by": tracker.uid})
print(tracker.note)
"""


@pytest.fixture
def database(destination: Destination) -> Mongo:
    assert destination.database is not None
    return destination.database


def put(database: Mongo, **more: Any) -> int | str:
    config = {"data": {"name": "digits"}, "backend": more.pop("backend", None), "seed": 0}
    return claims.put(database, {"config": config, "meta": {"options": {}}, "experiment": {}}, {"priority": 0.0} | more)


@pytest.fixture
def take(database: Mongo, tmp_path: Path) -> Iterator[Callable[..., Claim | None]]:
    """`take()`: claim a run as a worker does, and hold its lock."""
    held: list[int] = []

    def claim(where: Any = None) -> Claim | None:
        folder = new_run_folder(tmp_path)
        descriptor = locks.opened(folder / LOCK)
        assert descriptor is not None
        held.append(descriptor)
        return claims.claim(database, where or {}, folder)

    yield claim
    for descriptor in held:
        os.close(descriptor)


def test_the_oldest_of_the_highest_priority_is_next(database: Mongo, take: Callable[..., Claim]) -> None:
    for priority in (0.0, 0.0, 2.0, -1.0):
        put(database, priority=priority)
    put(database, priority=5.0, backend="jax")
    assert claims.waiting(database, {}) == 5
    here = {"config.backend": {"$in": [None, "torch"]}}
    assert [take(here).number for _ in range(4)] == [3, 1, 2, 4]
    assert take(here) is None
    assert take().number == 5
    assert claims.waiting(database, {}) == 0


def test_a_run_is_taken_out_of_the_queue_while_it_waits(database: Mongo, take: Callable[..., Claim]) -> None:
    first, second = put(database), put(database)
    assert claims.cancel(database, first) is None
    assert claims.cancel(database, first) == "INTERRUPTED"
    assert take().number == second
    assert claims.cancel(database, second) == "RUNNING"
    with pytest.raises(UserError, match="there is no run 7"):
        claims.cancel(database, 7)
    assert [each["status"] for each in database.runs.find().sort("_id", 1)] == ["INTERRUPTED", "RUNNING"]


def test_each_run_is_claimed_once_however_many_ask(database: Mongo, tmp_path: Path) -> None:
    for _ in range(30):
        put(database)
    got: list[int | str] = []

    def ask() -> None:
        while (claim := claims.claim(database, {}, new_run_folder(tmp_path))) is not None:
            got.append(claim.number)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(1, 31))


def test_it_is_given_back_once_and_keeps_its_number(database: Mongo, take: Callable[..., Claim]) -> None:
    number = put(database)
    claim = take()
    database.runs.update_one({"_id": number}, {"$set": {"resumed_from": "x", "resumed_at": 7}})
    assert [claim.give_back() for _ in range(3)] == [True, False, False]
    found = database.runs.find_one({"_id": number})
    assert found is not None
    assert (found["status"], found["queue"]["claim"], found.get("resumed_from")) == ("QUEUED", "", None)
    assert found["queue"]["attempts"][0]["resumed_at"] == 7
    again = take()
    assert (again.number, len(again.earlier)) == (number, 1)
    # The first one's writes reach nothing.
    assert (claim.beat(), claim.end("COMPLETED"), claim.give_back(), claim.status()) == (False, False, False, None)
    assert (again.beat(), again.end("COMPLETED"), again.end("FAILED")) == (True, True, False)
    assert not again.give_back()
    assert [document["status"] for document in database.runs.find()] == ["COMPLETED"]


def test_who_lost_a_run_does_not_write_over_the_result(
    database: Mongo, destination: Destination, take: Callable[..., Claim], tmp_path: Path
) -> None:
    number = put(database)
    first = take()
    slow = Tracker(first.folder, destination, Pace(interval=1000.0))
    slow.metrics(1, {"loss": 1.0})
    slow.publish()
    assert slow.number == number
    assert first.give_back()
    second = take()
    with Tracker(second.folder, destination, Pace(interval=1000.0)) as tracker:
        tracker.metrics(1, {"loss": 2.0})
        (tmp_path / "student").write_text("the second's")
        tracker.artifact(tmp_path / "student")
        tracker.ended("COMPLETED", {"by": "second"})
    # Back from a long sleep.
    (tmp_path / "student").write_text("the first's")
    slow.artifact(tmp_path / "student")
    slow.ended("FAILED", {"by": "first"})
    note = slow.close()
    assert note == f"run {number} was given back to the queue meanwhile: what is in {first.folder} is not its result"
    assert replay(first.folder, database, force=True) == "present"
    (found,) = database.runs.find()
    assert (found["status"], found["result"], found["uid"]) == ("COMPLETED", {"by": "second"}, second.uid)
    with opened(None, True, tmp_path):
        runs = queries.curves(database, [number])
    assert runs["value"].tolist() == [2.0]
    from experiments.tracking import files

    assert files.uploaded(database, found, "student") == b"the second's"


def test_an_attempt_that_is_killed_is_given_back_with_what_it_wrote(
    database: Mongo, destination: Destination, server: Destination, tmp_path: Path
) -> None:
    number = put(database)
    assert server._embedded is not None
    words = [str(tmp_path), server._embedded.uri, database.name]

    def start(steps: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", ATTEMPT, *words, str(steps)]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(number)
        return process

    killed = start(10**6)
    assert mark_dead(database) == []
    assert Watch(1000.0).lost(database) == []
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (claim,) = claims.claimed(database)
    # Whoever looks gives it back, and only one of them.
    seen: list[list[int]] = []
    threads = [threading.Thread(target=lambda: seen.append(mark_dead(database))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [[], [], [], [], [], [number]]
    written = sum(len(each["steps"]) for each in database.metric_chunks.find({"uid": claim.uid}))
    assert written == (claim.folder / JOURNAL).read_text().count('"type": "metrics"') >= 50
    ended = start(100)
    out, _ = ended.communicate(timeout=60)
    assert (ended.returncode, out.strip()) == (0, "None")
    (found,) = database.runs.find()
    assert (found["status"], found["_id"], len(found["queue"]["attempts"])) == ("COMPLETED", number, 2)
    assert found["result"] == {"by": found["queue"]["attempts"][1]["uid"]}


def test_a_heartbeat_that_stays_away_is_noticed_by_the_watchs_own_clock(
    database: Mongo, take: Callable[..., Claim]
) -> None:
    put(database)
    claim = take()
    # Its machine's clock is an hour slow: that alone means nothing.
    late = claim.document["heartbeat"] - timedelta(hours=1)
    database.runs.update_one({"_id": claim.number}, {"$set": {"heartbeat": late}})
    watch = Watch(0.3)
    assert watch.lost(database) == []
    time.sleep(0.2)
    claim.beat()
    time.sleep(0.2)
    assert watch.lost(database) == []
    time.sleep(0.4)
    # The database was away: nobody's heartbeat could come.
    watch.blink()
    assert watch.lost(database) == []
    time.sleep(0.4)
    (lost,) = watch.lost(database)
    assert lost.recover() == "QUEUED"
    assert watch.lost(database) == []


def test_one_that_ended_and_could_not_say_so_has_its_result(
    database: Mongo, destination: Destination, tmp_path: Path
) -> None:
    number = put(database)
    folder = new_run_folder(tmp_path)
    lock = locks.opened(folder / LOCK)
    assert lock is not None
    claim = claims.claim(database, {}, folder)
    assert claim is not None
    with Tracker(folder, Destination(tmp_path)) as tracker:  # its database is away
        tracker.ended("COMPLETED", {"accuracy": 0.5})
    os.close(lock)
    assert claim.status() == "RUNNING"
    assert claims.give_back_gone(database) == []
    found = database.runs.find_one({"_id": number})
    assert found is not None
    assert (found["status"], found["result"]) == ("COMPLETED", {"accuracy": 0.5})


def test_the_curve_of_all_attempts_is_one(
    database: Mongo, destination: Destination, take: Callable[..., Claim], tmp_path: Path
) -> None:
    number = put(database)
    for attempt, steps in enumerate((range(1, 8), range(5, 11))):
        claim = take()
        with Tracker(claim.folder, destination) as tracker:
            if attempt:
                tracker.annotate(resumed_from=claim.earlier[0].name, resumed_at=4)
            for step in steps:
                tracker.metrics(step, {"loss": step + 100.0 * attempt})
            tracker.ended("COMPLETED" if attempt else "PREEMPTED")
        assert claim.give_back() is not bool(attempt)
    expected = [1.0, 2.0, 3.0, 4.0, *(step + 100.0 for step in range(5, 11))]
    assert queries.curves(database, [number], ["loss"])["value"].tolist() == expected
    from experiments.tracking.source import InDatabase

    runs = InDatabase(database)
    assert runs.thinned(runs.latest({}), 100)[number]["loss"].values.tolist() == expected
    publisher = Publisher(tmp_path / "runs" / database.runs.find_one()["queue"]["attempts"][0]["uid"], database)  # type: ignore[index]
    while not publisher.push():
        pass
    assert publisher.superseded


def test_queued_runs_are_listed_first_and_shown(
    destination: Destination, database: Mongo, server: Destination, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with Tracker(new_run_folder(tmp_path), destination) as tracker:
        tracker.ended("COMPLETED", {})
    number = put(database)
    assert server._embedded is not None
    place = ["-m", f"{server._embedded.uri}/{database.name}"]
    assert main(["list", *place, "--csv", "--columns", "id,status,uid", "--last", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"{number},QUEUED,"]
    assert main(["list", *place]) == 0
    assert "QUEUED" in capsys.readouterr().out
    assert main(["show", *place, str(number)]) == 0
    shown = capsys.readouterr().out
    assert "QUEUED" in shown
    assert "queue.priority" in shown

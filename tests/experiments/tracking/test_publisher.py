from __future__ import annotations

import threading
from pathlib import Path

from experiments.tracking import queries
from experiments.tracking.folders import new_run_folder
from experiments.tracking.journal import JOURNAL
from experiments.tracking.journals import InJournals
from experiments.tracking.mongod import Destination
from experiments.tracking.publisher import Publisher, replay
from experiments.tracking.recorder import JournalRecorder
from experiments.tracking.snapshot import DIFF, Store
from experiments.tracking.source import InDatabase
from experiments.tracking.values import Mongo


def journaled(root: Path, ended: bool = True, points: int = 4_100) -> Path:
    folder = new_run_folder(root)
    with JournalRecorder(folder) as recorder:
        recorder.started({"seed": 0}, {})
        for step in range(points):
            recorder.metrics(step, {"loss": float(step)})
        if ended:
            recorder.ended("COMPLETED", {"a": 1})
    return folder


def everything(database: Mongo | None) -> dict[str, list[object]]:
    assert database is not None
    names = ("runs", "metrics", "metric_chunks", "fs.files")
    return {name: list(database[name].find(sort=[("_id", 1)])) for name in names}


def test_a_replay_done_twice_changes_nothing(destination: Destination, tmp_path: Path) -> None:
    folder, database = journaled(tmp_path), destination.database
    assert database is not None
    assert replay(folder, database) == "written"
    first = everything(database)
    assert len(first["metric_chunks"]) == 3
    assert replay(folder, database) == "present"
    assert replay(folder, database, force=True) == "written"
    assert everything(database) == first


def test_damaged_lines_are_told(destination: Destination, tmp_path: Path) -> None:
    folder, database = journaled(tmp_path, points=9), destination.database
    assert database is not None
    lines = (folder / JOURNAL).read_bytes().splitlines()
    for number in (4, 6):
        lines[number] = lines[number].replace(b"time", b"tame")
    (folder / JOURNAL).write_bytes(b"\n".join(lines) + b"\n")
    assert replay(folder, database) == "written"
    for source in (database, InJournals(tmp_path)):
        shown = queries.show(source, folder.name).set_index("field")["value"]
        assert shown["journal"] == "2 damaged lines left out"
    whole = journaled(tmp_path, points=9)
    assert "journal" not in queries.show(InJournals(tmp_path), whole.name)["field"].tolist()


def test_a_run_that_never_ended_is_dead_and_one_that_lives_is_left_alone(
    destination: Destination, tmp_path: Path
) -> None:
    database = destination.database
    assert database is not None
    folder = journaled(tmp_path, ended=False)
    path = folder / JOURNAL
    path.write_bytes(path.read_bytes()[:-20])
    recorder = JournalRecorder(new_run_folder(tmp_path))
    assert replay(recorder.folder, database) == "running"
    recorder.close()
    assert replay(folder, database) == "written"
    assert [run["status"] for run in database.runs.find()] == ["DEAD"]
    chunks = database.metric_chunks.find(sort=[("chunk", 1)])
    assert [step for chunk in chunks for step in chunk["steps"]] == list(range(4_099))
    assert replay(folder, database) == "present"


def test_a_replay_ends_what_a_killed_process_left_as_running(destination: Destination, tmp_path: Path) -> None:
    database, folder = destination.database, journaled(tmp_path, ended=False)
    assert database is not None
    publisher = Publisher(folder, database)
    while not publisher.push():
        pass
    assert [run["status"] for run in database.runs.find()] == ["RUNNING"]
    assert replay(folder, database) == "written"
    assert [(run["_id"], run["status"]) for run in database.runs.find()] == [(publisher.number, "DEAD")]


def captured(root: Path, files: dict[str, Path]) -> Path:
    """A run with sources, kept as a run's are."""
    folder = new_run_folder(root)
    with JournalRecorder(folder) as recorder:
        experiment = {"base_dir": str(root / "gone"), "sources": Store(root).keep(files, {DIFF: "+ a line\n"})}
        recorder.record("run", experiment=experiment, config={"seed": 0})
        recorder.ended("COMPLETED")
    return folder


def test_a_replay_brings_the_sources_as_they_were_and_each_content_once(
    destination: Destination, tmp_path: Path
) -> None:
    database, file = destination.database, tmp_path / "mine.py"
    assert database is not None
    folders = []
    for text in ("one\n", "two\n", "two\n"):
        file.write_text(text)
        folders.append(captured(tmp_path, {"mine.py": file, "copy/mine.py": file}))
    file.write_text("three\n")
    runs = InDatabase(database)
    for folder, text in zip(folders, (b"one\n", b"two\n", b"two\n"), strict=True):
        assert replay(folder, database) == "written"
        found = runs.sources(runs.named(folder.name)[0])
        contents = {name: each.read() for name, each in found.items()}
        assert contents == {"mine.py": text, "copy/mine.py": text, DIFF: b"+ a line\n"}
        journals = InJournals(tmp_path)
        same = journals.sources(journals.named(folder.name)[0])
        assert {name: (each.md5, each.read()) for name, each in same.items()} == {
            name: (each.md5, contents[name]) for name, each in found.items()
        }
    assert database["fs.files"].count_documents({}) == 3


def test_a_run_is_called_as_its_user_wants_or_by_the_next_number(destination: Destination, tmp_path: Path) -> None:
    database = destination.database
    assert database is not None
    numbers = []
    for wanted in (7, None, "a name", 7, "a name"):
        folder = new_run_folder(tmp_path)
        with JournalRecorder(folder) as recorder:
            if wanted is not None:
                recorder.record("id", id=wanted)
            recorder.ended("COMPLETED")
        assert replay(folder, database) == "written"
        numbers += [run["_id"] for run in database.runs.find({"uid": folder.name})]
    assert numbers == [7, 8, "a name", 9, 10]


def test_numbers_of_simultaneous_runs_are_their_own(destination: Destination, tmp_path: Path) -> None:
    database = destination.database
    assert database is not None
    database.runs.insert_many([{"_id": 7}, {"_id": "named by hand"}])  # stock Sacred's runs have no uid
    publishers = [Publisher(journaled(tmp_path, points=1), database) for _ in range(12)]
    twice = Publisher(publishers[0]._folder, database)
    threads = [threading.Thread(target=publisher.push) for publisher in [*publishers, twice]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(publisher.number or 0 for publisher in publishers) == list(range(8, 20))
    assert twice.number == publishers[0].number

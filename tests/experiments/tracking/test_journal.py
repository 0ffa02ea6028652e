from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from experiments.tracking import pieces
from experiments.tracking.folders import new_run_folder
from experiments.tracking.journal import JOURNAL, Journal, JournalReader, is_alive, last_records, read_journal
from experiments.tracking.recorder import JournalRecorder
from framework.errors import UserError
from framework.protocols import Recorder


def metrics(folder: Path) -> list[tuple[int, dict[str, float]]]:
    return [(record["step"], record["values"]) for record in read_journal(folder) if record["type"] == "metrics"]


def test_a_recorder_writes_plain_records_without_credentials(tmp_path: Path) -> None:
    import numpy as np

    folder = new_run_folder(tmp_path)
    with JournalRecorder(folder) as recorder:
        assert isinstance(recorder, Recorder)
        recorder.started({"lr": np.float32(0.5)}, {"remote": "https://tok:en@host/x"})
        recorder.metrics(np.int64(1), {"loss": np.float32(0.5), "nan": math.nan, "inf": -math.inf})
        recorder.ended("COMPLETED", {"test": {"accuracy": np.float64(0.9)}})
    records = read_journal(folder)
    assert [record["type"] for record in records] == ["journal", "started", "metrics", "ended"]
    assert records[0]["uid"] == folder.name
    assert records[1]["spec"] == {"lr": 0.5}
    assert records[1]["environment"] == {"remote": "https://***@host/x"}
    values = records[2]["values"]
    assert (values["loss"], values["inf"], math.isnan(values["nan"])) == (0.5, -math.inf, True)
    assert records[3]["result"] == {"test": {"accuracy": 0.9}}
    assert folder.stat().st_mode & 0o077 == 0


def test_a_torn_last_line_is_left_out_and_the_next_record_starts_afresh(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path)
    with JournalRecorder(folder) as recorder:
        recorder.metrics(1, {"loss": 1.0})
        recorder.metrics(2, {"loss": 2.0})
    path = folder / JOURNAL
    path.write_bytes(path.read_bytes()[:-9])
    assert metrics(folder) == [(1, {"loss": 1.0})]
    with JournalRecorder(folder) as recorder:
        recorder.metrics(3, {"loss": 3.0})
    assert metrics(folder) == [(1, {"loss": 1.0}), (3, {"loss": 3.0})]
    assert [record["type"] for record in read_journal(folder)].count("journal") == 2
    reader = JournalReader(folder)
    reader.read()
    assert reader.damaged == 1


def test_a_reader_goes_on_where_it_stopped_whatever_the_size_of_its_bites(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path)
    journal = Journal(folder)
    reader = JournalReader(folder)
    seen: list[int] = []
    for step in range(50):
        journal.append("metrics", {"step": step, "values": {}})
        if step % 3 == 0:
            seen += [record["step"] for record in reader.read(40) if record["type"] == "metrics"]
    while records := reader.read(40):
        seen += [record["step"] for record in records]
    journal.close()
    assert seen == list(range(50))


def test_a_journal_is_alive_while_it_is_open_and_has_one_writer(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path)
    journal = Journal(folder)
    assert is_alive(folder)
    with pytest.raises(UserError, match="written by another process"):
        Journal(folder)
    journal.close()
    assert not is_alive(folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_no_run_and_what_was_held_back_is_written_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    folder = new_run_folder(tmp_path)
    journal = Journal(folder)
    disk, full = journal._descriptor, os.open("/dev/full", os.O_WRONLY)
    journal._descriptor = full
    journal.append("metrics", {"step": 1, "values": {}})
    journal.append("metrics", {"step": 2, "values": {}})
    journal._descriptor = disk
    os.close(full)
    journal.append("metrics", {"step": 3, "values": {}})
    journal.close()
    assert [step for step, _ in metrics(folder)] == [1, 2, 3]
    assert capsys.readouterr().err.count("No space left") == 1


def test_no_flipped_bit_and_no_cut_is_read_as_something_else(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path)
    with JournalRecorder(folder) as recorder:
        recorder.started({"lr": 0.1, "name": "é"}, {"fingerprint": "ab12"})
        for step in range(20):
            recorder.metrics(step, {"train.loss": 1.0 / (step + 1), "train.grad_norm": math.nan})
        recorder.ended("COMPLETED", {"test": {"accuracy": 0.9}})
    path, rng = folder / JOURNAL, random.Random(0)
    whole, written = path.read_bytes(), [repr(record) for record in read_journal(folder)]
    for number in range(200):
        damaged = bytearray(whole)
        if number % 2:
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        else:
            del damaged[rng.randrange(len(whole)) :]
        path.write_bytes(damaged)
        read = [repr(record) for record in read_journal(folder)]
        # What is read is some of what was written: a flip costs its line, or two where it hit the end of one.
        assert [record for record in written if record in read] == read
        assert len(read) >= (len(written) - 2 if number % 2 else whole[: len(damaged)].count(b"\n"))
        assert len(read) < len(written)


def written_in_parts(root: Path, count: int) -> Path:
    folder = new_run_folder(root)
    journal = Journal(folder, piece_bytes=2000)
    for step in range(count):
        journal.append("metrics", {"step": step, "values": {"train.loss": 1.0 / (step + 1)}})
    journal.close()
    return folder


def test_a_long_journal_goes_on_in_further_files_which_are_compressed(tmp_path: Path) -> None:
    folder = written_in_parts(tmp_path, 200)
    suffixes = [part.path.suffix for part in pieces.found(folder)]
    assert len(suffixes) > 5
    # The first has the lock, the last is being written.
    assert suffixes == [".jsonl", *[".gz"] * (len(suffixes) - 2), ".jsonl"]
    assert [step for step, _ in metrics(folder)] == list(range(200))
    assert [record["step"] for record in last_records(folder, 300)][-2:] == [198, 199]
    reader, seen = JournalReader(folder), []
    for size in (7, 5000, 1, 300, *[900] * 60):
        seen += [record["step"] for record in reader.read(size) if record["type"] == "metrics"]
    assert seen == list(range(200))
    # Going on from an offset is the same as reading on, and a journal that is opened again goes on in its last file.
    assert JournalReader(folder, reader.offset).read() == []
    again = Journal(folder, piece_bytes=2000)
    assert again.size() > reader.offset
    again.append("metrics", {"step": 200, "values": {}})
    again.close()
    assert [record["type"] for record in JournalReader(folder, reader.offset).rest()] == ["journal", "metrics"]


def test_a_run_that_is_killed_while_a_file_is_compressed_loses_nothing(tmp_path: Path) -> None:
    folder = written_in_parts(tmp_path, 200)
    before = metrics(folder)
    packed = pieces.found(folder)[2]
    plain = packed.path.with_suffix("")
    with packed.open() as file:
        plain.write_bytes(file.read())
    assert metrics(folder) == before
    packed.path.unlink()
    packed.path.with_name(f".{packed.path.name}.tmp").write_bytes(b"half of it")
    assert metrics(folder) == before


def test_no_damage_of_a_compressed_file_is_read_as_something_else(tmp_path: Path) -> None:
    folder, rng = written_in_parts(tmp_path, 100), random.Random(0)
    written = [repr(record) for record in read_journal(folder)]
    packed = pieces.found(folder)[1].path
    whole = packed.read_bytes()
    for number in range(200):
        damaged = bytearray(whole)
        if number % 2:
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        else:
            del damaged[rng.randrange(len(whole)) :]
        packed.write_bytes(damaged)
        reader = JournalReader(folder)
        read = [repr(record) for record in reader.rest()]
        assert [record for record in written if record in read] == read
        assert reader.damaged or read == written

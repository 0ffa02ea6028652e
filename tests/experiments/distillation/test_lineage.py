"""Runs that are one run in several segments: which is found, what it goes on from, what it keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.distillation import lineage, resuming
from experiments.tracking.journal import Journal
from framework.errors import UserError
from framework.files.checkpoints import Checkpoints
from tests.experiments.distillation.segments import checkpoint, journaled

pytestmark = pytest.mark.backend


def test_names(tmp_path: Path) -> None:
    old, new, empty = (journaled(tmp_path) for _ in range(3))
    checkpoint(old, 1)
    checkpoint(new, 1)
    assert lineage.find("latest", tmp_path) == new
    assert lineage.find(old.name, tmp_path) == lineage.find(str(old), tmp_path) == old
    with pytest.raises(UserError, match=f"could be {old.name}, {new.name}"):
        lineage.find(old.name[:8], tmp_path)
    with pytest.raises(UserError, match="without a database runs have no numbers"):
        lineage.find("3", tmp_path, journal_only=True)
    with pytest.raises(UserError, match="no checkpoint in"):
        resuming.load(lineage.find(empty.name, tmp_path))
    with pytest.raises(UserError, match=r"no run in .* has a checkpoint"):
        lineage.find("latest", tmp_path / "nowhere")
    journal = Journal(new)
    try:
        with pytest.raises(UserError, match=f"run {new.name} is still running"):
            lineage.find(new.name, tmp_path)
        assert lineage.find("latest", tmp_path) == old
    finally:
        journal.close()


def test_a_segment_without_a_checkpoint_leads_to_the_one_before(tmp_path: Path) -> None:
    first = journaled(tmp_path)
    checkpoint(first, 3)
    second = journaled(tmp_path, resumed_from=first.name, root_run=first.name, resumed_folder=str(first))
    origin = resuming.load(second)
    assert (origin.folder, origin.step, origin.root_run) == (first, 3, first.name)
    # What it left of a checkpoint goes as well, and its journal is brought along.
    assert (origin.segments, origin.lineage) == ((second, first), (first,))
    assert origin.superseded == [second / "checkpoints", first / "checkpoints"]
    third = journaled(tmp_path, **origin.fields())
    assert resuming.load(third).segments == (third, second, first)
    assert lineage.find("latest", tmp_path) == third
    shutil.rmtree(third)
    assert lineage.find("latest", tmp_path) == second
    checkpoint(second, 7)
    origin = resuming.load(second)
    assert (origin.folder, origin.step, origin.root_run) == (second, 7, first.name)
    assert origin.lineage == (second, first)
    # Folders that were moved together still find each other.
    moved = tmp_path / "elsewhere"
    (tmp_path / "runs").rename(moved)
    assert resuming.load(moved / second.name).lineage == (moved / second.name, moved / first.name)


def test_a_run_of_many_segments_takes_no_more_room_than_one(tmp_path: Path) -> None:
    first, second = journaled(tmp_path), journaled(tmp_path)
    for step in (1, 2, 3):
        checkpoint(first, step)
    cut_short = first / "checkpoints/.step_000000004.safetensors.1.tmp"
    cut_short.write_bytes(b"half of one")
    later = Checkpoints(second / "checkpoints", keep=2, superseded=[first / "checkpoints"])
    later.save({"step": np.asarray(4)}, {})
    assert not cut_short.exists()
    assert len(Checkpoints(first / "checkpoints").paths()) == 3
    later.save({"step": np.asarray(5)}, {})
    assert Checkpoints(first / "checkpoints").paths() == []
    assert len(later.paths()) == 2


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(tmp_path: Path) -> None:
    folder = journaled(tmp_path)
    checkpoint(folder, 3)
    newest = checkpoint(folder, 4)
    newest.write_bytes(newest.read_bytes()[:-1])
    origin = resuming.load(folder)
    assert origin.step == 3
    assert len(origin.notes) == 1
    assert f"{newest} is damaged" in origin.notes[0]

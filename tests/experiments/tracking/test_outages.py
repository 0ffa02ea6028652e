"""The server is taken away from a run in each of the ways: no point is lost, none is doubled, and nobody waits long."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments.tracking.recorder import PACE, Pace
from tests.experiments.tracking import outages

# The server is away for longer than all of these together.
QUICK = Pace(interval=0.02, push=0.5, backoff=0.3, start=0.5, close=1.5)
SECONDS = 4.0


def test_a_run_waits_less_than_twenty_seconds_in_total() -> None:
    # The thread of the tracker, and the one that brings former segments along, get a second each at the end.
    assert PACE.start + PACE.close + 2 < 20


@pytest.mark.usefixtures("binary")
def test_the_server_is_taken_away_from_a_run(tmp_path: Path) -> None:
    assert sum(dataclasses.astuple(QUICK)) < SECONDS
    for report in outages.all_of(outages.KINDS, tmp_path, SECONDS, QUICK):
        assert report["lost"] == 0
        assert report["points"] > 100
        # All that was waited was for the start and the end, and a machine at work.
        assert report["waited_s"] < QUICK.start + QUICK.close + 3.0, report
        assert report["in the database at the end"] == (report["kind"] not in ("for ever", "offline")), report

"""Where runs are."""

from __future__ import annotations

import time

from experiments.tracking.folders import new_uid


def test_uids_sort_by_time_and_differ() -> None:
    first = new_uid()
    time.sleep(0.002)
    later = [new_uid() for _ in range(100)]
    assert first < min(later)
    assert len(set(later)) == 100

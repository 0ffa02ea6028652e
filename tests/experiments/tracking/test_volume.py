"""The numbers of two million steps stay small at the default cadence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments.tracking.volume import volume


@pytest.mark.usefixtures("binary")
def test_two_million_steps_of_twenty_metrics(tmp_path: Path) -> None:
    found = volume(tmp_path, 2_000_000, 20)
    assert found["points"] >= 400 * 20
    assert found["run_folder_mb"] < 200
    assert found["mongodb_data_mb"] < 25

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.tracking import plots
from framework.errors import UserError

FRAME = pd.DataFrame(
    [(1, "loss", 1, 0.5), (1, "loss", 2, 0.25), (2, "loss", 1, 0.75)], columns=["run", "metric", "step", "value"]
)


def test_one_run_has_a_column_a_metric_and_several_one_each() -> None:
    assert plots.wide(FRAME[FRAME["run"] == 1]).to_dict() == {"loss": {1: 0.5, 2: 0.25}}
    both = plots.wide(FRAME)
    assert list(both.columns) == ["loss [1]", "loss [2]"]
    assert both["loss [2]"].dropna().to_dict() == {1: 0.75}


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no metrics to draw"):
        plots.plot(FRAME[:0], tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.nosuch"):
        plots.plot(FRAME, tmp_path / "a.nosuch")

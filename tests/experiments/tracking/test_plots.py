from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_a_picture_has_few_panels_and_those_that_matter() -> None:
    names = ["a", "b", "train.loss", "train.lr", "validation.student.accuracy"]
    frame = pd.DataFrame({"run": 1, "metric": names, "step": 1, "value": 0.5})
    assert list(plots.usual(frame)["metric"]) == ["train.loss", "validation.student.accuracy"]
    assert list(plots.usual(frame[frame["metric"].isin(["a", "b"])])["metric"]) == ["a", "b"]


def test_means_are_taken_where_all_runs_have_a_step() -> None:
    mean = plots.averaged(FRAME, {1: "seed=any", 2: "seed=any"})
    assert mean.to_dict("records") == [
        {"run": "seed=any (mean of 2)", "metric": "loss", "step": 1, "value": 0.625, "low": 0.5, "high": 0.75}
    ]


def test_runs_of_one_name_keep_their_number() -> None:
    assert set(plots.labelled(FRAME, {1: "a", 2: "b"})["run"]) == {"a", "b"}
    assert set(plots.labelled(FRAME, {1: "a", 2: "a"})["run"]) == {"a (run 1)", "a (run 2)"}


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[pd.DataFrame], Any]:
    """`drawn(frame)`: matplotlib's figure of a picture."""
    figures = pytest.importorskip("matplotlib.figure")
    seen: list[Any] = []
    save = figures.Figure.savefig
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, *a, **b: (seen.append(self), save(self, *a, **b)))

    def draw(frame: pd.DataFrame) -> Any:
        plots.plot(frame, tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
        return seen[-1]

    return draw


def test_many_runs_can_be_read(drawn: Callable[[pd.DataFrame], Any]) -> None:
    rows = [
        (f"run {run}", "validation.student.kl", step, 1 / (1 + run + step)) for run in range(24) for step in range(5)
    ]
    figure = drawn(pd.DataFrame(rows, columns=["run", "metric", "step", "value"]))
    (panel,) = figure.axes
    lines, (legend,) = panel.get_lines(), figure.legends
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 24
    assert {line.get_marker() for line in lines} == {"o"}
    assert [text.get_text() for text in legend.get_texts()] == [f"run {run}" for run in range(24)]
    # Beside the panel, and within the picture.
    box, inner = legend.get_window_extent(), panel.get_window_extent()
    assert box.x0 >= inner.x1
    assert box.y0 >= 0
    assert (panel.get_ylabel(), panel.get_xlabel()) == ("validation KL", "updates of the student")


def test_long_curves_have_no_marks_and_means_have_a_band(drawn: Callable[[pd.DataFrame], Any]) -> None:
    long = pd.DataFrame({"run": 1, "metric": "train.loss", "step": range(100), "value": 0.5, "low": 0.4, "high": 0.6})
    (panel,) = drawn(long).axes
    assert [line.get_marker() for line in panel.get_lines()] == ["None"]
    assert len(panel.collections) == 1


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no metrics to draw"):
        plots.plot(FRAME[:0], tmp_path / "a.png")
    for name in ("a.nosuch", "nosuch/a.png"):
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            plots.plot(FRAME, tmp_path / name)

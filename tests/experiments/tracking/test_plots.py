from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

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


def test_repeats_of_a_seed_are_one_curve_of_the_mean() -> None:
    rows = [(run, "loss", 1, value) for run, value in ((1, 0.5), (2, 0.5), (3, 0.8))]
    frame = pd.DataFrame(rows, columns=["run", "metric", "step", "value"])
    labels = dict.fromkeys((1, 2, 3), "a")
    (mean,) = plots.averaged(frame, labels, {1: 0, 2: 0, 3: 1}).to_dict("records")
    assert (mean["run"], mean["value"]) == ("a (mean of 2)", pytest.approx(0.65))
    # A step that one of the repeats lacks is not the mean of what there is.
    assert not len(plots.averaged(frame[frame["run"] != 2], labels, {1: 0, 2: 0, 3: 1}))


def test_runs_of_one_name_keep_their_number() -> None:
    assert set(plots.labelled(FRAME, {1: "a", 2: "b"})["run"]) == {"a", "b"}
    assert set(plots.labelled(FRAME, {1: "a", 2: "a"})["run"]) == {"a (run 1)", "a (run 2)"}


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`drawn(frame)`: matplotlib's figure of a picture."""
    figures = pytest.importorskip("matplotlib.figure")
    seen: list[Any] = []
    save = figures.Figure.savefig
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, *a, **b: (seen.append(self), save(self, *a, **b)))

    def draw(frame: pd.DataFrame, *more: Any) -> Any:
        plots.plot(frame, tmp_path / "a.png", *more)
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
        return seen[-1]

    return draw


def test_many_runs_can_be_read(drawn: Callable[..., Any]) -> None:
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
    assert (panel.get_ylabel(), panel.get_xlabel()) == ("validation KL (nats)", "updates of the student (steps)")


def test_long_curves_have_no_marks_and_means_have_a_band(drawn: Callable[..., Any]) -> None:
    long = pd.DataFrame({"run": 1, "metric": "train.loss", "step": range(100), "value": 0.5, "low": 0.4, "high": 0.6})
    (panel,) = drawn(long).axes
    assert [line.get_marker() for line in panel.get_lines()] == ["None"]
    assert len(panel.collections) == 1


def accuracies(*values: float) -> pd.DataFrame:
    return pd.DataFrame(
        {"run": "a", "metric": "validation.student.accuracy", "step": range(len(values)), "value": values}
    )


def test_few_runs_have_their_legend_above_and_long_labels_whole(drawn: Callable[..., Any]) -> None:
    labels = [f"teaching=funmatch, {'views.augmentations=[brightness,grayscale], ' * 2}seed={seed}" for seed in (0, 1)]
    figure = drawn(pd.concat([accuracies(0.1, 0.9).assign(run=label) for label in labels]))
    (panel,), (legend,) = figure.axes, figure.legends
    assert legend.get_window_extent().y0 >= panel.get_window_extent().y1
    assert [" ".join(text.get_text().split()) for text in legend.get_texts()] == labels


def test_a_teacher_is_a_line_with_its_name_and_value(drawn: Callable[..., Any]) -> None:
    levels = pd.DataFrame(
        [(run, "teacher bit", metric, value) for run in "ab" for metric, value in LEVELS],
        columns=["run", "teacher", "metric", "value"],
    )
    (panel,) = drawn(accuracies(0.1, 0.9), "", levels).axes
    curve, level = panel.get_lines()
    assert list(level.get_ydata()) == [0.975, 0.975]
    assert [text.get_text() for text in panel.texts] == ["teacher bit: 97.5%"]
    assert curve.get_color() != level.get_color()
    assert panel.get_ylabel() == "validation accuracy (%)"
    assert panel.yaxis.get_major_formatter()(0.57, 0) == "57"


LEVELS = (("validation.student.accuracy", 0.975), ("test.student.accuracy", 0.96))


@pytest.mark.parametrize("log", ["", "x", "y", "xy"])
def test_axes_may_be_logarithmic(drawn: Callable[..., Any], log: str) -> None:
    (panel,) = drawn(accuracies(0.0, 0.1, 0.9), log).axes
    assert (panel.get_xscale() == "log", panel.get_yscale() == "log") == ("x" in log, "y" in log)
    (line,) = panel.get_lines()
    # What is not above 0 has no place on such an axis.
    assert list(line.get_ydata()) == ([0.1, 0.9] if log else [0.0, 0.1, 0.9])


def test_a_log_axis_needs_something_above_zero(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--log y: nothing"):
        plots.plot(accuracies(0.0), tmp_path / "a.png", "y")
    assert not list(tmp_path.iterdir())


def test_letters_stay_letters_in_vector_files(tmp_path: Path) -> None:
    plots.plot(accuracies(0.1, 0.9), tmp_path / "a.svg")
    assert "updates of the student (steps)</text>" in (tmp_path / "a.svg").read_text()
    plots.plot(accuracies(0.1, 0.9), tmp_path / "a.pdf")
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()


def test_colours_are_for_the_colour_blind(drawn: Callable[..., Any]) -> None:
    (panel,) = drawn(pd.concat([accuracies(0.1, 0.2).assign(run=f"{run}") for run in range(7)])).axes
    colours = [line.get_color() for line in panel.get_lines()]
    assert len(set(colours)) == 7
    # Simulated for people without red or green cones, any two still differ (Viénot et al. 1999).
    for matrix in BLIND.values():
        seen = np.array([to_rgb(colour) for colour in colours]) ** 2.2 @ np.array(matrix).T
        seen = seen.clip(0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert apart[~np.eye(7, dtype=bool)].min() > 0.1


BLIND = {
    "protanopia": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deuteranopia": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no metrics to draw"):
        plots.plot(FRAME[:0], tmp_path / "a.png")
    for name in ("a.nosuch", "nosuch/a.png"):
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            plots.plot(FRAME, tmp_path / name)

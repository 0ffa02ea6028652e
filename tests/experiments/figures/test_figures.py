"""`python -m experiments.figures` on real journals: the CSV's numbers are the runs', and the pictures need it alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.figures import drawing, style, summary, table
from experiments.figures.__main__ import main
from experiments.figures.catalog import FIGURES, TAUGHT
from experiments.recipes import RECIPES
from experiments.tracking.folders import new_run_folder, run_folders
from experiments.tracking.journal import read_journal
from experiments.tracking.recorder import JournalRecorder
from framework.loop.evaluator import nested
from framework.spec import DistillSpec

ACCURACY, KL = "test.student.accuracy", "test.student.kl"
STEPS = (1, 10, 60, 100)
Make = Callable[..., str]


def spec_of(changes: Mapping[str, Any]) -> DistillSpec:
    """`digits`, 100 epochs of 4 updates, with changes under dotted names."""
    flat = {"seed": 0, "batch_size": 25, "duration.total_epochs": 25.0, "duration.total_steps": None} | dict(changes)
    base = DistillSpec.from_dict(RECIPES["digits"]).to_dict()
    for name, value in nested(flat).items():
        base[name] = base[name] | value if isinstance(value, dict) else value
    return DistillSpec.from_dict(base)


def values_at(step: int, level: float) -> dict[str, float]:
    """What a run would measure: better from step to step, and the better the higher its level."""
    accuracy = level * (1 - 0.8 / step)
    measured = {"accuracy": accuracy, "kl": 1.1 - accuracy, "loss": 1.2 - accuracy, "agreement@1": accuracy - 0.01}
    splits = {"train": 0.02, "validation": 0.0, "test": -0.03}
    return {
        f"{split}.student.{name}": value + (more if name != "kl" else -more)
        for split, more in splits.items()
        for name, value in measured.items()
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "e"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "e"


@pytest.fixture
def make(root: Path) -> Make:
    """Writes a run's journal, and returns its uid."""

    def run(level: float = 0.9, status: str | None = "COMPLETED", upto: int = 100, **changes: Any) -> str:
        changes = {name.replace("__", "."): value for name, value in changes.items()}
        course = changes.pop("course", True)
        spec = spec_of(changes)
        prints = {"fingerprint": spec.fingerprint, "fingerprint_no_seed": spec.fingerprint_no_seed}
        with JournalRecorder(new_run_folder(root)) as recorder:
            recorder.started(spec.to_dict(), {"data_fingerprint": "d", "train_examples": 100} | prints)
            recorder.metrics(0, {"test.teacher.accuracy": 0.98})
            values: dict[str, float] = {}
            for step in [each for each in STEPS if each <= upto]:
                recorder.metrics(step, {"train.loss": 2 / step})
                values = values_at(step, level)
                if course or step == STEPS[-1]:
                    recorder.metrics(step, values)
            if status is not None:
                ended = nested(values) | {"steps": 100} if status == "COMPLETED" else None
                recorder.ended(status, ended)
        return recorder.uid

    return run


@pytest.fixture(autouse=True)
def _one_format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All formats for both pages take seconds: they are left to the tests that look at them."""
    if "all_formats" not in request.fixturenames:
        monkeypatch.setattr(drawing, "FORMATS", {style.LIGHT: ("svg",)})


@pytest.fixture
def all_formats() -> None:
    """Draw them all."""


def drawn(name: str, *words: str) -> pd.DataFrame:
    assert main([name, "-J", *words]) == 0
    return table.read(next(Path("figures").glob("*.csv")))[0]


def recorded(root: Path, uid: str) -> dict[tuple[str, int], float]:
    records = read_journal(root / "runs" / uid)
    found = [record for record in records if record["type"] == "metrics"]
    return {(name, record["step"]): value for record in found for name, value in record["values"].items()}


@pytest.mark.usefixtures("all_formats")
def test_the_numbers_are_those_of_the_runs(root: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        for epochs in (25.0, 12.5):
            make(0.8 + 0.02 * seed + 0.001 * epochs, seed=seed, duration__total_epochs=epochs, upto=int(4 * epochs))
    frame = drawn("4")
    own = frame[frame["curve"] != table.TEACHER]
    assert set(own["metric"]) == {ACCURACY, KL}
    for row in own.itertuples():
        assert row.value == pytest.approx(recorded(root, row.run)[row.metric, row.step], rel=1e-8)
        assert row.epoch == row.step * 25 / 100
        assert row.finished == (row.step == 4 * row.length)
    # No other step of any run is left out.
    measured = {(uid, *point) for uid in set(own["run"]) for point in recorded(root, uid) if point[0] in (ACCURACY, KL)}
    assert {(row.run, row.metric, row.step) for row in own.itertuples()} == measured
    [teacher] = frame[(frame["curve"] == table.TEACHER)]["value"]
    assert teacher == 0.98
    names = capsys.readouterr().out.split()
    endings = (".csv", ".png", ".svg", ".pdf", "-dark.png", "-dark.svg")
    assert names == [f"figures/patience-digits{ending}" for ending in endings]
    assert all(Path(name).stat().st_size > 1000 for name in names)


def test_mean_and_spread_over_the_seeds_at_the_steps_that_all_have(make: Make) -> None:
    for seed, level in enumerate((0.7, 0.8, 0.96)):
        make(level, seed=seed, course=seed != 2)
    means = summary.over_seeds(drawn("4"))
    last = means[(means["metric"] == ACCURACY) & (means["step"] == 100)].iloc[0]
    values = [values_at(100, level)[ACCURACY] for level in (0.7, 0.8, 0.96)]
    assert (last["mean"], last["low"], last["high"]) == pytest.approx((sum(values) / 3, values[0], values[2]))
    assert last["seeds"] == 3
    # One seed was measured at its end alone.
    assert means[means["metric"] == ACCURACY]["step"].tolist() == [100]


def test_repeats_of_a_seed_are_one_run(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    uids = [make(level, seed=0) for level in (0.5, 0.7, 0.9)]
    make(0.8, status="INTERRUPTED", upto=60, seed=0)
    frame = drawn("4")
    assert set(frame["run"]) == {uids[-1], ""}
    assert "2 repeats of a spec and seed are left out" in capsys.readouterr().err


def test_the_best_is_chosen_on_validation_data_whatever_the_test_says(root: Path, make: Make) -> None:
    worse = make(0.8, optimizer__lr=0.1)
    best = make(0.9, optimizer__lr=0.2)
    # The worse one is let shine on test data.
    with JournalRecorder(root / "runs" / worse) as recorder:
        values = values_at(100, 0.8) | {ACCURACY: 0.99}
        recorder.ended("COMPLETED", nested(values) | {"steps": 100})
    frame = drawn("4")
    assert set(frame["run"]) == {best, ""}
    caption = table.read(Path("figures/patience-digits.csv"))[1]["caption"]
    assert "Of several specs, the best on validation data" in caption
    assert "Test data chose nothing" in caption


def test_a_spec_is_judged_by_the_seeds_that_all_have(make: Make) -> None:
    lucky = make(0.9, seed=0, optimizer__lr=0.1)
    for seed, level in ((0, 0.89), (1, 0.95)):
        make(level, seed=seed, optimizer__lr=0.2)
    # With seed 0, which both have, the first is better.
    assert set(drawn("4")["run"]) == {lucky, ""}


def test_a_run_on_its_way_has_no_end(make: Make) -> None:
    make(0.9, status=None, upto=60, seed=0, duration__total_epochs=25.0)
    make(0.9, seed=0, duration__total_epochs=15.0, upto=60)
    frame = drawn("4")
    ends = frame[frame["finished"] == 1]
    assert set(ends["length"]) == {15.0}
    assert set(frame[frame["length"] == 25.0]["state"]) == {"DEAD"}
    # Ends alone are drawn over the length.
    assert set(drawn("5", "--output", "figures/5")["curve"]) >= {""}
    lengths = table.read(Path("figures/5/lengths-digits.csv"))[0]
    assert set(lengths[lengths["curve"] != table.TEACHER]["length"]) == {15.0}


def test_a_picture_is_drawn_again_from_its_numbers_alone(root: Path, make: Make, tmp_path: Path) -> None:
    make(0.9)
    drawn("4")
    first = {path.name: path.read_bytes() for path in Path("figures").glob("*.svg")}
    assert len(first) == 1
    for folder in run_folders(root):
        (folder / "journal.jsonl").unlink()
    csv = Path("figures/patience-digits.csv")
    assert main(["--from", str(csv), "--output", "again"]) == 0
    assert {path.name: path.read_bytes() for path in Path("again").glob("*.svg")} == first
    # Other numbers are another picture.
    frame, about = table.read(csv)
    table.write(frame.assign(value=frame["value"] / 2), csv, about)
    assert main(["--from", str(csv), "--output", "again"]) == 0
    assert {path.name: path.read_bytes() for path in Path("again").glob("*.svg")} != first


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn(make: Make, name: str) -> None:
    for teaching in ("funmatch", "same/ic", "fix/rs"):
        make(0.8, teaching=teaching)
    labels = {"teaching": "labels", "teachers": [], "loss__task_weight": 1.0}
    make(0.7, **labels, views__mixup=1.0)
    make(0.6, **labels, views__mixup=0.0)
    make(0.85, loss__temperature=5.0)
    make(0.75, data__train_from="glyphs")
    make(0.86, views__teacher_size=12)
    frame = drawn(name)
    curves = {
        "headline": {"function matching", "labels with mixup", "labels alone"},
        "teaching": {"function matching", "consistent, inception crops", "fixed, the whole image"},
        "patience": {""},
        "lengths": {"function matching", "consistent, inception crops", "fixed, the whole image"},
        "domain": {"digits itself", "glyphs"},
        "labels": {"function matching", "labels with mixup", "labels alone"},
        "temperature": {"T = 1", "T = 5"},
        "agreement": {"function matching", "consistent, inception crops", "fixed, the whole image"},
        "teachers": {"teacher at 8 px, student at 8 px", "teacher at 12 px, student at 8 px"},
    }
    assert set(frame["curve"]) - {table.TEACHER} == curves[name]


def test_the_training_loss_is_averaged_over_parts_of_the_axis() -> None:
    frame = pd.DataFrame({"step": range(1, 1001), "value": [float(step) for step in range(1, 1001)]})
    thin = table.thinned(frame, 1000, parts=3)
    assert thin["step"].tolist() == [1, 10, 100, 1000]
    assert thin["value"].tolist() == [1.0, 6.0, 55.5, 550.5]


def test_validation_stands_in_where_nobody_looked_at_the_test(
    root: Path, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make(0.9, course=False)
    uid = run_folders(root)[0].name
    with JournalRecorder(root / "runs" / uid) as recorder:
        for step in (10, 60):
            recorder.metrics(step, {"validation.student.accuracy": 0.5, "validation.student.kl": 0.4})
    frame = drawn("4")
    assert set(frame[frame["curve"] != table.TEACHER]["metric"]) == {
        "validation.student.accuracy",
        "validation.student.kl",
    }
    assert "drawn on validation data" in capsys.readouterr().err
    assert "Test data chose nothing" not in Path("figures/patience-digits.csv").read_text()


def test_a_length_is_asked_for_as_it_is_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    for teaching in ("funmatch", "consistent"):
        make(0.9, seed=0, teaching=teaching, duration__total_epochs=100 / 7)
    make(0.9, seed=0, duration__total_epochs=25.0)
    drawn("3")
    assert "runs of 14.2 epochs are drawn; those of 25 are left out" in capsys.readouterr().err
    assert set(drawn("3", "--length", "14.2")["length"].dropna()) == {14.25}


def test_in_print_each_teaching_is_another() -> None:
    looks = style.looks([(name, 25.0) for name in TAUGHT], False, style.LIGHT)
    assert len({(look.line, look.mark) for look in looks.values()}) == len(TAUGHT)
    # Where curves are of several lengths, lines tell the lengths.
    looks = style.looks([(name, length) for name in TAUGHT[:2] for length in (25.0, 50.0)], False, style.LIGHT)
    assert len({(look.line, look.mark) for look in looks.values()}) == 4


def test_a_mean_that_rounding_puts_below_its_seeds_is_drawn() -> None:
    from matplotlib.figure import Figure

    mean = sum([0.7] * 3) / 3
    assert mean < 0.7
    points = pd.DataFrame({"length": [9.0], "mean": [mean], "low": [0.7], "high": [0.7], "seeds": [3]})
    drawing._ends(Figure().subplots(), points, "length", style.Look("k", "-", "o"), "x")


def test_mistakes_leave_no_file(root: Path, make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["4", "-J"]) == 2
    assert f"there are no runs in {root} (EXPERIMENTS_DIR" in capsys.readouterr().err
    make(0.9)
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    for words, told in {
        ("patients",): "did you mean 'patience'",
        ("8",): "no figure '8'",
        ("6", "--where", "data.nam=digits"): "did you mean",
        ("4", "--where", "seed=7"): f"no runs in {root} that meet seed=7",
        ("6", "--length", "9"): "python -m experiments.study domain",
        ("4", "--split", "tests"): "did you mean 'test'",
        ("4", "--length", "3"): "of 3 epochs",
        ("--from", "nothing.csv"): "No such file",
        ("--from", str(other)): "no table of a figure",
        ("4", "--from", str(other)): "drop the figure's name",
        (): "which figure?",
    }.items():
        assert main([*words, "-J"]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert len(error.strip().splitlines()) <= 3
    assert not Path("figures").exists()


def test_the_csv_can_be_read_by_others(make: Make) -> None:
    make(0.9)
    drawn("4")
    text = Path("figures/patience-digits.csv").read_text()
    assert text.startswith("# figure: patience\n# data: digits\n")
    assert len(pd.read_csv(io.StringIO(text), comment="#")) == len(table.read(Path("figures/patience-digits.csv"))[0])

"""The points of a grid, and which of them share a teacher's pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import Device
from experiments.planning.estimates import Memory
from experiments.sweep import groups
from experiments.sweep.__main__ import main, sort_words
from experiments.sweep.grid import Point, points
from framework.errors import UserError


def grid(*over: str, words: tuple[str, ...] = ("digits",)) -> list[Point]:
    return points(over, words, "glyphs")


def test_all_combinations_in_order() -> None:
    made = grid("optimizer.lr=1e-3,3e-3", "student.options.widths=[4],[8,16]", words=("digits", "batch_size=10"))
    assert [point.label for point in made] == [
        f"optimizer.lr={lr} student.options.widths={widths}" for lr in ("1e-3", "3e-3") for widths in ("[4]", "[8,16]")
    ]
    assert [point.spec.optimizer.lr for point in made] == [1e-3, 1e-3, 3e-3, 3e-3]
    assert [point.spec.student.options["widths"] for point in made] == [[4], [8, 16]] * 2
    assert {(point.spec.data.name, point.spec.batch_size, point.recipes) for point in made} == {
        ("digits", 10, ("digits",))
    }


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ((), "nothing is swept: write over KEY=VALUE,VALUE"),
        (("optimizer.lrr=1,2",), "unknown key 'optimizer.lrr': did you mean 'lr'"),
        (("optimizer.lr=",), "over 'optimizer.lr=': expected values separated by commas"),
        (("optimizer.lr=1e-3,,2",), "expected values separated by commas"),
        (("optimizer.lr=1e-3,x",), "optimizer.lr = 'x': expected a number"),
        (("optimizer.lr=-1,1",), "optimizer.lr = -1"),
        (("optimizer.lr=1e-3,0.001",), "optimizer.lr=0.001 is the same student as optimizer.lr=1e-3"),
        (("optimizer.lr=1", "optimizer.lr=2"), "'optimizer.lr' is given twice"),
        (("batch_size=8,16",), "'batch_size' is given twice"),
        (("backend=jax,torch",), "backend doesn't change the student"),
        (("glyphs",), "over 'glyphs': expected KEY=VALUE,VALUE"),
    ],
)
def test_mistakes(over: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError) as caught:
        grid(*over, words=("digits", "batch_size=10"))
    assert told in str(caught.value)


def test_words_are_told_apart() -> None:
    words = ["over", "a=1,2", "with", "digits", "resume=x", "over", "b=3"]
    assert sort_words(words) == (["a=1,2", "b=3"], ["digits"], "x")
    with pytest.raises(UserError, match="unexpected 'ovr' \\(did you mean 'over'"):
        sort_words(["ovr", "a=1"])


def test_what_leaves_the_views_alone_is_shared() -> None:
    shared = (
        "student=bit,convnet",
        "init_seed=0,1",
        "optimizer.lr=1e-3,2e-3",
        "schedule.warmup_steps=0,5",
        "loss.temperature=1,2",
        "duration.total_steps=50,60",
    )
    made = [point.spec for word in shared for point in grid(word)]
    assert groups.grouped(made) == [list(range(12))]


@pytest.mark.parametrize("word", ["seed=0,1", "views.size=8,9", "batch_size=10,20", "teaching=funmatch,consistent"])
def test_what_changes_the_views_is_not(word: str) -> None:
    made = [point.spec for point in grid(word, "optimizer.lr=1e-3,2e-3")]
    assert groups.grouped(made) == [[0, 1], [2, 3]]


def test_float64_is_swept_alone() -> None:
    with pytest.raises(UserError, match="precision = float64 can"):
        groups.grouped([point.spec for point in grid("precision=float32,float64")])


def test_as_many_as_fit() -> None:
    def gpu(free: int | None) -> Device:
        return Device("gpu", "gpu:0", "", None, None, free)

    each = [Memory(student=10, teachers=100, activations=a, views=5) for a in (20, 50, 30, 20)]
    assert groups.together(each) == 100 + 5 + 50 + 40
    assert groups.fitting(each, gpu(None)) == groups.LARGEST
    assert groups.fitting(each, gpu(1000)) == groups.LARGEST
    # Of 0.8 x 223 = 178.4 bytes two students take 175, three 185.
    assert groups.fitting(each, gpu(223)) == 2
    assert groups.fitting(each, gpu(10)) == 1
    assert [len(part) for part in groups.parted(range(10), 4)] == [4, 3, 3]


@pytest.mark.parametrize("size", ["0", "33"])
def test_a_group_size_that_cannot_be(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["over", "optimizer.lr=1,2", "with", "digits", "--group-size", size]) == 2
    assert capsys.readouterr().err == f"experiments.sweep: --group-size {size}: must be 1 to 32\n"


def test_a_dry_run_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path))
    assert main(["over", "seed=0,1", "optimizer.lr=1e-3,2e-3", "with", "digits", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "group 1: 2 students on one teacher's pass, seed 0, digits",
        "  seed=0 optimizer.lr=1e-3",
        "  seed=0 optimizer.lr=2e-3",
        "group 2: 2 students on one teacher's pass, seed 1, digits",
        "  seed=1 optimizer.lr=1e-3",
        "  seed=1 optimizer.lr=2e-3",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path))
    for words, told in (
        (["with", "resume=latest"], "resume = 'latest': no such sweep"),
        (["with", "resume=2020"], "resume = '2020': no such sweep"),
        (["over", "seed=1", "with", "resume=latest"], "uses the stored sweep: drop seed=1"),
    ):
        assert main(words) == 2
        assert told in capsys.readouterr().err

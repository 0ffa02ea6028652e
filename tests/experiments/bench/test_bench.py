"""The command runs, writes what it promises, and refuses what can't be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.bench import __main__ as bench
from experiments.bench import report


@pytest.mark.backend
def test_quick_bench(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["steps", "million", "--quick", "--backends", backend, "--sizes", "digits", "--rounds", "2", "--batch", "6"]
    words += ["--variants", "trainer,step,native,supervised,timm"]
    assert bench.main([*words, "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]) == 0
    out, told = capsys.readouterr()
    assert "step/native" in out
    assert f"steps {backend} digits: round 2 of 2" in told
    assert "a million steps" in out
    assert "timm: left out, timm has BiT nets for PyTorch alone" in told
    job, million = json.loads((tmp_path / "a.json").read_text())["jobs"]
    assert job["result"]["batch_size"] == 6
    assert job["result"]["peak"] > 1e8
    assert million["result"]["steps"] == 4
    assert min(million["result"]["seconds"]) > 1  # a microsecond a step
    losses = job["result"]["losses"]
    assert losses["native"] == pytest.approx(losses["step"], rel=1e-5)
    assert {name: len(timings) for name, timings in job["result"]["timings"].items()} == dict.fromkeys(losses, 2)
    assert all(min(timing[:2]) > 0 for timings in job["result"]["timings"].values() for timing in timings)
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_ctrl_c_shows_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = iter([{"wall": [5.0], "cpu": [4.0], "note": "the first"}])

    def measured(job: object, tell: object) -> object:
        for result in done:
            return result
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.processes, "run", measured)
    file = tmp_path / "a.json"
    assert bench.main(["loaders", "--peers", "grain", "--json", str(file)]) == 130
    assert "the first" in capsys.readouterr().out
    assert len(json.loads(file.read_text())["jobs"]) == 1


def test_quick_loaders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    assert bench.main(["loaders", "--quick", "--peers", "patient-teachers", "--rounds", "1", "--json", str(file)]) == 0
    jobs = json.loads(file.read_text())["jobs"]
    assert [job["mode"] for job in jobs] == ["jpeg", "cached", "cached small"]
    assert all(job["result"]["wall"][0] > 0 for job in jobs)
    assert "first batch at step 1,990,000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stepps"], "part 'stepps': did you mean 'steps'"),
        (["--sizes", "bit46"], "--sizes 'bit46'"),
        (["--rounds", "0"], "--rounds 0: must be 1 or more"),
        (["--peak", "0"], "--peak 0.0: must be more than 0"),
        (["--batch", "0"], "--batch 0: must be 1 or more"),
        (["--precision", "mixed_bfloat16", "--variants", "distiller"], "--variants 'distiller'"),
        (["--against", "nowhere.json"], "--against nowhere.json"),
    ],
)
def test_mistakes(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(words) == 2
    assert said in capsys.readouterr().err


def found(slower: float = 1.0) -> dict[str, object]:
    """A run with a step of 10 ms, times `slower`."""
    timings = {"step": [(0.01 * slower * noise, 0.01 * slower * noise, 0.0) for noise in (1.0, 1.02, 3.0)]}
    timings["native"] = [(0.0095, 0.0095, 0.0)] * 3
    result = {"timings": timings, "batch_size": 100, "flops": {"step": 1e9, "native": 1e9}}
    return {
        "clock": "cpu",
        "peak": 1.0,
        "jobs": [{"kind": "steps", "size": "digits", "backend": "jax", "result": result}],
    }


def test_tables_show_medians_ratios_and_a_tenth() -> None:
    table = report.tables(found(slower=1.1), found())
    row = next(line.split() for line in table.splitlines() if line.startswith("digits  jax      step"))
    assert row[3:5] == ["11.22", "11.22"]
    assert row[-3:] == ["89", "8.9%", "0.909"]
    assert "0.85" in table.splitlines()[-1]

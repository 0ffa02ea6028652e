"""The command as people run it: its table, its exit codes, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.parity import compare
from experiments.parity.__main__ import Comparison, gather, main, parse, show

ROOT = Path(__file__).parents[2]
QUICK = ["--backends", "torch,tensorflow", "--precisions", "float64", "--steps", "2"]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return gather(parse(["with", "teaching=independent", "batch_size=8", *QUICK]))


def test_two_backends_agree(comparison: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(comparison, tmp_path / "parity.json") == 0
    out = capsys.readouterr().out
    assert out.rstrip().endswith("parity holds: torch, tensorflow")
    assert "gradient at step 0" in out
    whole = json.loads((tmp_path / "parity.json").read_text())
    assert whole["ok"]
    assert (whole["spec"]["teaching"], whole["spec"]["batch_size"]) == ("independent", 8)
    first, second = whole["backends"]
    assert first["draws"] == second["draws"]


def test_out_of_tolerance_is_1(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "FLOAT64", compare.Tolerances(*[-1.0] * 7, each=True))
    assert show(comparison, None) == 1
    out = capsys.readouterr().out
    assert "FAILS" in out
    assert "out of tolerance: loss at step 0" in out.splitlines()[-1]


def test_json_alone_is_json(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(comparison, Path("-")) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["with", "optimizer.lrr=1"], "lr"),
        (["with", "backend=jax"], "--help"),
        (["with", "teacher.name=glyphs", *QUICK], "convnet"),
        (["with", "data=./missing"], "missing"),
        (["optimizer.lr=1"], "with"),
        (["--backends", "jax,torhc"], "torch"),
        (["--backends", "jax"], "two"),
        (["--precisions", "float16"], "float32"),
        (["--steps", "0"], "1 or more"),
    ],
)
def test_mistakes_are_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("experiments.parity: ")]
    assert len(errors) == 1
    assert said in errors[0]


def children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc for processes left behind")
def test_interrupt_is_130_and_leaves_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "experiments.parity"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        workers: list[int] = []
        deadline = time.monotonic() + 120
        while len(workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            workers = children(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (130, "experiments.parity: interrupted\n")
    assert len(workers) == 2
    assert [worker for worker in workers if alive(worker)] == []
    assert list(tmp_path.iterdir()) == []

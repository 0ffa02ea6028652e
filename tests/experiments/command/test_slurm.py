"""What `--slurm` takes, and what it refuses before anything is submitted."""

from __future__ import annotations

import os
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from experiments.command import slurm, usage
from experiments.run import PROGRAM
from experiments.sweep.__main__ import main as sweep
from framework.errors import UserError


def test_settings_are_submitits() -> None:
    assert slurm.settings("time=90,gpus=2,cluster=local,mem=16") == {
        "cluster": "local",
        "timeout_min": 90,
        "gpus_per_node": 2,
        "mem_gb": 16,
    }
    for text, minutes in {"2:30:00": 150, "1-00:00:00": 1440, "0:00:30": 1, "00:10:01": 11}.items():
        assert slurm.settings(f"cluster=local,time={text}")["timeout_min"] == minutes


def test_slurms_own_settings_have_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/usr/bin/{name}")
    asked = slurm.settings("time=60,partition=gpu,nodes=2,tasks=4,account=lab,signal=300")
    assert asked == {
        "cluster": "slurm",
        "timeout_min": 60,
        "nodes": 2,
        "tasks_per_node": 4,
        "slurm_partition": "gpu",
        "slurm_account": "lab",
        "slurm_signal_delay_s": 300,
    }


def test_slurm_is_asked_for_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Slurm itself isn't here; what submitit would hand to it is.
    for name, text in {"sbatch": "echo Submitted batch job 12", "srun": "true"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    asked = slurm.settings("time=60,partition=gpu,nodes=2,tasks=4,gpus=4,qos=low,signal=300")
    told = slurm.submit(asked, "experiments.run", ["-J"], ["with", "digits"], tmp_path / "runs")
    assert told.startswith("submitted to Slurm as job 12: output in ")
    script = next((tmp_path / "runs" / "slurm").glob("*.sh"))
    lines = {line.removeprefix("#SBATCH --") for line in script.read_text().splitlines()}
    for wanted in ("time=60", "partition=gpu", "nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "qos=low"):
        assert wanted in lines
    assert {"signal=USR2@300", "job-name=run", "open-mode=append"} <= lines


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpus=1", "--slurm: time is missing"),
        ("time=5,gpu=1", "--slurm gpu: did you mean 'gpus'? allowed: account, cluster"),
        ("time=5,gpus=0", "--slurm gpus=0: expected a whole number, 1 or more"),
        ("time=soon", "--slurm time=soon: expected MINUTES, HH:MM:SS or DAYS-HH:MM:SS"),
        ("time=5,time=6", "--slurm time=6: expected each key once"),
        ("time=5,partition", "--slurm partition: expected each key once, partition=VALUE"),
        ("time=5,cluster=pbs", "--slurm cluster=pbs: allowed: local, slurm"),
        ("time=5", "--slurm: there is no sbatch here, so no Slurm; cluster=local tries the job on this machine"),
    ],
)
def test_what_it_cannot_take_is_refused(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert PROGRAM.main(["--slurm", text, "with", "digits"]) == 2
    assert sweep(["over", "seed=0,1", "with", "digits", "--slurm", text]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].startswith(told) for line in lines] == [True, True], lines
    assert list(tmp_path.iterdir()) == []


def test_without_submitit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr(slurm.util, "find_spec", lambda name: None if name == "submitit" else find(name))
    with pytest.raises(UserError, match=r'--slurm needs submitit: .* -e "\.\[slurm\]"'):
        slurm.settings("time=5")


@pytest.mark.parametrize(
    ("words", "told"),
    [(("-q",), "--slurm and -q don't go"), (("plan",), "--slurm and plan don't go")],
)
def test_it_is_for_runs_alone(words: Any, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main([*words, "-x", "time=5,cluster=local", "with", "digits"]) == 2
    assert told in capsys.readouterr().err


def test_the_options_are_told_from_the_words() -> None:
    experiment = PROGRAM._experiment()
    for own in (["-x", "time=5"], ["-xtime=5"], ["--slurm", "time=5"], ["--slurm=time=5"]):
        argv = ["-c", "no mixing", *own, "with", "digits", "seed=-1", "-d", "--mongo_db=host:1:db"]
        assert usage.split(argv, experiment, ("-x", "--slurm")) == (
            ["-c", "no mixing", "-d", "--mongo_db=host:1:db"],
            ["with", "digits", "seed=-1"],
        )

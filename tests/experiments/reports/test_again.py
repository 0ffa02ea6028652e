from __future__ import annotations

import shlex

import pytest

from experiments import config
from experiments.reports import again


@pytest.mark.parametrize(
    "words",
    [
        ["digits", "backend=torch"],
        ["seed=3", "teaching=consistent"],
        ["digits_labels", "duration.total_epochs=7.5", "student.options.widths=[8,16]"],
        ["flowers_fast", "data.name=./my photos", "loss.distance=hard", "loss.options.label_smoothing=0.1"],
        ["digits", "teachers=['digits','glyphs']", "views.teacher_size=[8,16]", "optimizer.clip_norm=null"],
    ],
)
def test_the_command_makes_the_same_config(words: list[str]) -> None:
    made, named, _ = config.read(words)
    told = again.command({"config": made, "meta": {"named_configs": named}, "experiment": {"name": "run"}})
    assert told is not None
    python, dash, module, keyword, *rest = shlex.split(told)
    assert [python, dash, module, keyword] == ["python", "-m", "experiments.run", "with"]
    assert config.read(rest)[0] == made


def test_a_duration_takes_the_place_of_another() -> None:
    made, named, _ = config.read(["digits", "duration.total_steps=600"])
    told = again.command({"config": made, "meta": {"named_configs": named}, "experiment": {"name": "run"}})
    assert told == "python -m experiments.run with digits duration.total_steps=600"


def test_what_the_machine_said_is_left_out() -> None:
    made = config.defaults("digits") | {"device": "cuda:0", "threads": 3, "resume": "x"}
    told = again.command({"config": made, "meta": {"named_configs": ["digits"]}, "experiment": {"name": "teacher"}})
    assert told == "python -m experiments.teacher with digits"


def test_other_programs_runs_have_none() -> None:
    assert again.command({"config": {"lr": 0.1}}) is None
    assert again.command({}) is None

"""A stored config after `with`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import config
from experiments.command.config_files import take_filename
from experiments.recipes import RECIPES
from experiments.run import PROGRAM
from framework.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_what_save_config_writes_is_the_same_config_again(recipe: str) -> None:
    for name in ("config.json", "own.yaml"):
        assert PROGRAM.main(["save_config", "with", recipe, "seed=7", f"config_filename={name}"]) == 0
        assert config.read([name])[0] == config.read([recipe, "seed=7"])[0]
    _, names, changes = config.read(["config.json", "seed=8"])
    assert (names, changes) == (["config.json"], {"seed": 8})


def test_nothing_of_the_default_recipe_is_left_in_a_whole_config() -> None:
    stored = config.read(["digits", "student=bit", "teaching=labels", "duration.total_examples=500"])[0]
    Path("config.json").write_text(json.dumps(stored))
    assert config.read(["config.json"])[0] == stored
    assert config.read(["glyphs", "config.json"])[0] == stored
    Path("run.json").write_text(json.dumps({"_id": 3, "status": "COMPLETED", "config": stored}))
    assert config.read(["run.json"])[0] == stored


def test_a_file_of_some_keys_changes_what_is_there() -> None:
    Path("some.yml").write_text("seed: 5\noptimizer:\n  lr: 0.5\nteacher: digits\n")
    assert config.read(["some.yml"])[0] == config.read(["seed=5", "optimizer.lr=0.5", "teacher=digits"])[0]
    assert config.read(["digits", "some.yml"])[0] == config.read(["digits", "seed=5", "optimizer.lr=0.5"])[0]


def test_the_config_of_a_resumed_run_makes_all_of_it_again() -> None:
    stored = config.read(["digits"])[0] | {"resume": "20260101", "resume_anyway": True, "extend": "restart"}
    Path("config.json").write_text(json.dumps(stored))
    assert config.read(["config.json"])[0] == config.read(["digits"])[0]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("no.json", None, "'no.json' can't be read: No such file or directory"),
        ("a.json", "{", "'a.json' is not valid JSON: Expecting property name"),
        ("a.yaml", "a: [", "'a.yaml' is not valid YAML: while parsing"),
        (
            "a.yaml",
            "!!python/object/apply:os.getcwd []",
            "'a.yaml' is not valid YAML: could not determine a constructor",
        ),
        ("a.json", "[1]", "'a.json' holds list: expected keys and values"),
        ("a.json", '{"sed": 1}', "'a.json': unknown key 'sed': did you mean 'seed'?"),
        ("a.json", '{"optimizer": {"lr": -1}}', "'a.json': optimizer.lr = -1.0: must be more than 0"),
        ("a.pickle", "", "'a.pickle': a pickle can run any code: allowed: .json, .yaml, .yml"),
        ("a.txt", "seed: 1", "'a.txt': allowed: .json, .yaml, .yml"),
    ],
)
def test_mistakes_in_files(name: str, content: str | None, told: str) -> None:
    if content is not None:
        Path(name).write_text(content)
    with pytest.raises(UserError) as error:
        config.read([name])
    assert told in str(error.value)


def test_a_password_that_was_not_stored_must_be_said_again() -> None:
    stored: dict[str, Any] = config.read(["digits", "teacher=bit", "teacher.weights=https://x.example/w.npz"])[0]
    stored["teachers"][0]["weights"] = "https://x.example/w.npz?***"
    Path("config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"teacher.weights = .*: the password in it was not stored"):
        config.read(["config.json"])
    assert config.read(["config.json", "teacher.weights=w.npz"])[0]["teachers"][0]["weights"] == "w.npz"


@pytest.mark.parametrize("name", ["a.txt", "no/a.json", "a.pickle"])
def test_save_config_writes_only_what_can_be_read_again(name: str) -> None:
    with pytest.raises(UserError, match=f"config_filename={name}"):
        take_filename("save_config", [f"config_filename={name}"])
    assert take_filename("print_config", ["a"]) == (None, ["a"])

"""Sacred's options: each works as the table in docs/sacred.md says, or is refused before anything is written."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from sacred.experiment import DEFAULT_COMMAND_LINE_OPTIONS

from experiments.command import options
from experiments.command.exit import FAULT, guarded
from experiments.run import PROGRAM
from experiments.tracking.folders import run_folders
from experiments.tracking.journal import read_journal
from experiments.tracking.readers import opened
from framework.errors import UserError
from framework.spec import DistillSpec

DOCS = (Path(__file__).parents[3] / "docs" / "sacred.md").read_text(encoding="utf-8")
MISSING = [name for name in ("tinydb", "sqlalchemy", "boto3") if util.find_spec(name) is None]
# What is refused, by option: the words, and what the line says.
REFUSED: dict[str, tuple[str, str]] = {
    "--queue": ("-q -u", "-q stores a run in MongoDB, where workers find it: leave --unobserved out"),
    "--beat-interval": ("--beat-interval=-1", "expected a number of seconds, 0 or more"),
    "--priority": ("-P high", "--priority high: expected a number"),
    "--capture": ("-C fds", "--capture fds: did you mean 'fd'? allowed: fd, no, sys"),
    "--loglevel": ("-l LOUD", "--loglevel LOUD: a number from 0 to 50"),
    "--id": ("-i a/b", "--id 'a/b': expected a number, or a name"),
    "--file_storage": ("-F /dev/null/x", "/dev/null is not a folder"),
    "--tiny_db": ("-t db", "--tiny_db needs tinydb, tinydb_serialization, hashfs: python -m pip install tinydb "),
    "--sql": ("-s sqlite:///x.db", "--sql needs sqlalchemy: python -m pip install sqlalchemy"),
    "--s3": ("-S s3://bucket/folder", "--s3 needs boto3: python -m pip install boto3"),
    "--mongo_db": ("-m localhost:1:runs", "not reached within 5 s"),
}


def documented() -> set[str]:
    """The long names in the table's first column."""
    rows = re.findall(r"^\| (`-.*?) \|", DOCS, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"--[\w-]+", row)}


def test_each_of_sacreds_options_has_a_row() -> None:
    assert {option.get_flag() for option in DEFAULT_COMMAND_LINE_OPTIONS} == documented()
    experiment = PROGRAM._experiment()
    commands = {name for name, _ in experiment.gather_commands()}
    assert commands == set(re.findall(r"^\| `(\w+)` \|", DOCS, re.MULTILINE))
    # What can be refused for its value, or for what is missing; the others are tried below, or take no value.
    free = {"--help", "--unobserved", "--comment", "--name", "--enforce_clean", "--force", "--print-config"}
    assert documented() - set(REFUSED) == free | {"--debug", "--pdb"}


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "--mongo_db"])
def test_what_an_option_cannot_take_is_refused_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, told = REFUSED[name]
    if name in ("--tiny_db", "--sql", "--s3") and len(MISSING) < 3:
        pytest.skip(f"only {', '.join(MISSING) or 'nothing'} is missing here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPERIMENTS_DIR", str(tmp_path / "runs"))
    assert PROGRAM.main([*words.split(), "with", "digits"]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert (out, len(err.splitlines()), list(tmp_path.iterdir())) == ("", 1, [])


@pytest.mark.parametrize(
    ("text", "number"), [("10", 10), ("debug", 10), ("WARNING", 30), ("0", 0), ("LOUD", None), ("-3", None)]
)
def test_log_levels(text: str, number: int | None) -> None:
    if number is None:
        with pytest.raises(UserError, match=f"--loglevel {text}"):
            options.log_level(text)
    else:
        assert options.log_level(text) == number


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@x.example")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_sources_that_are_not_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "PROJECT", tmp_path)
    check: Any = lambda: options.check_chosen({"--enforce_clean": True}, DistillSpec(), tmp_path, None, True)  # noqa: E731
    with pytest.raises(UserError, match=r"git doesn.t tell what has changed in "):
        check()
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    check()
    (tmp_path / "a.py").write_text("2\n")
    with pytest.raises(UserError, match=r"--enforce_clean: not committed in .*: a\.py$"):
        check()


def test_the_debugger_starts_where_the_fault_arose(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        inner = 41
        raise ValueError(f"{inner}")

    monkeypatch.setattr("sys.stdin", io.StringIO("p inner + 1\nq\n"))
    assert guarded("experiments.run", fail, post_mortem=True) == FAULT
    out, err = capsys.readouterr()
    assert "42" in out.splitlines()[-2]
    assert "ValueError: 41" in err.splitlines()[-1]

    def mistake() -> int:
        raise UserError("no")

    assert guarded("experiments.run", mistake, post_mortem=True) == 2
    assert "(Pdb)" not in capsys.readouterr().out


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main(["help", "save_config"]) == 0
    assert "Store the updated configuration in a file." in capsys.readouterr().out


def journal(root: Path) -> Mapping[str, Any]:
    """The start of the latest run."""
    records = read_journal(run_folders(root)[-1])
    return next(record for record in records if record["type"] == "run")


@pytest.mark.backend
@pytest.mark.mongod
@pytest.mark.timeout(150)
def test_what_the_others_do(here: Any, database: Any, short: tuple[str, ...], tmp_path: Path) -> None:
    valued = {"id": 77, "comment": "word", "name": "named", "priority": 3, "loglevel": "error", "capture": "no"}
    given = [f"--{name}={value}" for name, value in (valued | {"beat-interval": 5}).items()]
    done = here.run(*given, "--force", "--print-config", f"--file_storage={tmp_path / 'files'}", *short)
    assert done.returncode == 0, done.stderr
    (run,) = database.runs.find()
    assert (run["_id"], run["experiment"]["name"], run["meta"]["comment"]) == (77, "named", "word")
    assert (run["meta"]["priority"], run["meta"]["options"]["--loglevel"]) == (3.0, "error")
    assert done.stdout.startswith("Configuration (")
    assert (tmp_path / "files" / "77" / "config.json").is_file()
    # Nothing was captured; what was told before the run began is kept all the same.
    assert "step 4/4" not in run["captured_out"]
    again = here.run("--id=77", *short)
    assert (again.returncode, "--id 77: there is a run 77 already" in again.stderr) == (2, True)
    assert len(run_folders(here.root)) == 1
    named = here.run("--id=my.run", *short)
    assert "as run my.run: python -m experiments.runs show my.run" in named.stdout
    assert [each["_id"] for each in database.runs.find({"_id": {"$type": "string"}})] == ["my.run"]


@pytest.mark.backend
def test_a_run_that_nobody_observes(here: Any, short: tuple[str, ...], tmp_path: Path) -> None:
    done = here.run("-u", f"--file_storage={tmp_path / 'files'}", *short)
    assert done.returncode == 0, done.stderr
    *_, told, files = done.stdout.splitlines()
    assert told == "logged nowhere, as --unobserved asks"
    folder = Path(files.removeprefix("files in "))
    assert (folder / "student" / "model.json").is_file()
    assert {path.name for path in here.root.iterdir()} == {"cache", "runs"}
    assert run_folders(here.root) == []
    assert not (tmp_path / "files").exists()
    with opened(None, True, here.root) as runs:
        assert runs.latest({}) == []
    resumed = here.run("-J", f"resume={folder}", "duration.total_steps=6", "resume_anyway=True")
    assert resumed.returncode == 0, resumed.stderr
    assert journal(here.root)["config"]["duration"]["total_steps"] == 6

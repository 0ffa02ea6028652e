"""The hub without a network: at once, in one line, with what to do; in processes, since its settings are read once."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from framework.data.catalog import CATALOG, INSTEAD, check_entry
from framework.data.classes import order
from framework.data.splits import parse
from framework.errors import UserError

CODE = """
import sys, time
from pathlib import Path
from threading import Thread
from framework.data import load
from framework.errors import UserError
from framework.spec import DataSpec
waited = []
time.sleep = waited.append
try:
    splits = load(DataSpec(name=sys.argv[1]), Path(sys.argv[2]))
    print(splits.train.num_examples, splits.notes)
except UserError as error:
    print(error)
# Between the attempts of its own that the library would make there are 23 s.
assert sum(waited) < 5, waited
"""
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def run(name: str, folder: Path, environment: dict[str, str]) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    env = {**inherited, "HF_HOME": str(folder / "home"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", CODE, name, str(folder)], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("environment", [UNREACHABLE, {"HF_HUB_OFFLINE": "1"}], ids=["unreachable", "offline"])
def test_an_id_that_cant_be_reached_fails_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    message = run("timm/oxford-iit-pet", tmp_path, environment)
    assert len(message.splitlines()) == 1
    assert "did you mean 'timm/oxford-iiit-pet'?" in message
    for advice in ("can't be reached", "data=glyphs", "save_to_disk", "folder of images"):
        assert advice in message


def test_a_misspelt_set_of_the_projects_own_is_recognised(tmp_path: Path) -> None:
    assert "did you mean 'digits'?" in run("digts", tmp_path, {"HF_HUB_OFFLINE": "1"})


def test_the_name_of_a_file_format_is_no_data_set(tmp_path: Path) -> None:
    assert "is a file format" in run("imagefolder", tmp_path, {"HF_HUB_OFFLINE": "1"})


@pytest.mark.parametrize("name", CATALOG)
def test_the_catalogs_splits_can_be_read_and_are_there(name: str) -> None:
    entry = CATALOG[name]
    sizes = dict(entry.sizes)
    for expression in (entry.train, entry.validation, entry.test):
        assert all(term.split in sizes for term in parse(expression))


def test_what_differs_from_the_catalog_is_said() -> None:
    pets = {"train": 3680, "test": 3669}
    classes = [names[0] for names in order("pet")]
    assert check_entry("timm/oxford-iiit-pet", pets, classes) == ()
    assert check_entry("timm/oxford-iiit-pet", pets, None) == ()
    assert "3600 rows where 3680 are known" in check_entry("timm/oxford-iiit-pet", {**pets, "train": 3600}, classes)[0]
    with pytest.raises(UserError, match="36 classes where 37 are known"):
        check_entry("timm/oxford-iiit-pet", pets, classes[1:])
    (note,) = check_entry("timm/oxford-iiit-pet", pets, ["Boxr" if name == "boxer" else name for name in classes])
    assert "1 class names are not the known ones, e.g. 'Boxr'" in note
    assert check_entry("somebody/else", {"train": 3}, ["a", "b"]) == ()
    for name, instead in INSTEAD.items():
        assert instead in CATALOG
        assert instead in check_entry(name, {}, None)[0]


class Answer(BaseHTTPRequestHandler):
    """A hub that gives every request one answer."""

    status, headers_to_send = 500, ()

    def do_GET(self) -> None:
        self.send_response(self.status)
        for header in self.headers_to_send:
            self.send_header(*header)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (404, [("X-Error-Code", "RepoNotFound")], "the hub has no such data set"),
        (401, [("X-Error-Code", "RepoNotFound")], "the hub has no such data set, or it is private"),
        (500, [], "can't be reached (it answers 500)"),
    ],
)
def test_what_the_hub_answers_is_said(status: int, headers: list, expected: str, tmp_path: Path) -> None:
    answer = type("Answer", (Answer,), {"status": status, "headers_to_send": headers})
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        message = run("ethz/fod101", tmp_path, {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"})
        server.shutdown()
    assert expected in message
    assert "did you mean 'ethz/food101'?" in message
    assert len(message.splitlines()) == 1

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from experiments.tracking.embedded import EmbeddedServer
from experiments.tracking.mongod import DEFAULT_NAME, VARIABLE, Destination, open_database, parse_address
from framework.errors import UserError


@pytest.mark.parametrize(
    ("text", "uri", "name"),
    [
        ("db.example:27018:runs", "mongodb://db.example:27018", "runs"),
        ("db.example:27018", "mongodb://db.example:27018", DEFAULT_NAME),
        ("[::1]:27017:runs", "mongodb://[::1]:27017", "runs"),
        ("runs", "mongodb://localhost:27017", "runs"),
        ("mongodb://a:b@x:1,y:2/runs?w=1", "mongodb://a:b@x:1,y:2/runs?w=1", "runs"),
        ("mongodb+srv://x.example", "mongodb+srv://x.example", DEFAULT_NAME),
        ("mongodb://%2Ftmp%2Fm.sock", "mongodb://%2Ftmp%2Fm.sock", DEFAULT_NAME),
    ],
)
def test_addresses(text: str, uri: str, name: str) -> None:
    assert parse_address(text) == (uri, name)


@pytest.mark.parametrize("text", ["", "a b", "host:port:db", "http://x/y", "host:27017:db:more", "host:27017:a.b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UserError, match=r"is no address of a MongoDB server; allowed: host:port:db"):
        parse_address(text)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_named_server_that_is_away_costs_five_seconds_and_one_line(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        open_database(f"mongodb://ann:pass-word@127.0.0.1:{closed_port()}/x", False, tmp_path)
    assert time.monotonic() - start < 7.0  # 5 s, and room for a busy machine; without the ping it would be 30 s
    message = str(caught.value)
    assert "not reached within 5 s" in message
    assert "Connection refused" in message
    assert "pass-word" not in message
    assert "\n" not in message


def test_the_variable_is_used_after_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "not an address")
    with pytest.raises(UserError, match=f"{VARIABLE}: 'not an address'"):
        open_database(None, False, tmp_path)
    with pytest.raises(UserError, match="-m: 'nor this'"):
        open_database("nor this", False, tmp_path)
    assert open_database(None, True, tmp_path).database is None


def test_journal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_database(None, True, tmp_path) as asked:
        assert (asked.database, asked.note) == (None, None)
        assert str(tmp_path / "runs") in asked.describe()
    with pytest.raises(UserError, match="contradict"):
        open_database("runs", True, tmp_path)
    monkeypatch.setenv("EXPERIMENTS_MONGOD", "/nonexistent")
    with open_database(None, False, tmp_path) as missing:
        assert missing.database is None
        assert missing.note is not None
        assert "python -m experiments.db replay" in missing.note
        assert "\n" not in missing.note
    with pytest.raises(UserError, match="no database: there is no mongod here"):
        open_database(None, False, tmp_path, required=True)


def test_a_full_uri_reaches_a_server_and_makes_the_indexes(server: Destination, tmp_path: Path) -> None:
    uri = EmbeddedServer(server.root).uri
    with open_database(f"{uri}/by_uri", False, tmp_path) as destination:
        assert destination.database is not None
        assert destination.database.name == "by_uri"
        indexes = destination.database.runs.index_information()
        assert indexes["uid_unique"]["unique"]
        assert {"fingerprint_1", "fingerprint_no_seed_1", "config.backend_1"} < set(indexes)
        assert destination.replay_command() == f"python -m experiments.db replay -m {uri}/by_uri"

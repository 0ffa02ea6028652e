from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from experiments.tracking import mongod
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
        ("mongodb://ann@x:1/runs", "mongodb://ann@x:1/runs", "runs"),
    ],
)
def test_addresses(text: str, uri: str, name: str) -> None:
    assert parse_address(text) == (uri, name)


@pytest.mark.parametrize("text", ["", "a b", "host:port:db", "http://x/y", "host:27017:db:more", "host:27017:a.b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UserError, match=r"is not the address of a MongoDB server; allowed: host:port:db"):
        parse_address(text)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_named_server_that_is_away_costs_five_seconds_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"mongodb://ann:pass-word@127.0.0.1:{closed_port()}/x")
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        open_database(None, False, tmp_path)
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


@pytest.mark.parametrize(
    "rest",
    [
        "ab?TOPSECRET@127.0.0.1:9/x?authSource=admin",
        "ab?TOPSECRET%40@127.0.0.1:9/x",
        # What begins as a port does.
        "12?TOPSECRET@127.0.0.1:9/x?authSource=admin",
        "12/TOPSECRET@127.0.0.1:9/x",
        "ab/TOPSECRET@127.0.0.1:9/x",
        "ab#TOPSECRET@127.0.0.1:9/x",
        "ab[TOPSECRET@127.0.0.1:9/x",
        "ab]TOPSECRET@127.0.0.1:9/x",
        "ab@TOPSECRET@127.0.0.1:9/x",
        "ab:TOPSECRET@127.0.0.1:9/x",
        "ab%TOPSECRET@127.0.0.1:9/x",
        "TOP\u2100SECRET@127.0.0.1:9/x",
        "TOPSECRET",
        "TOPSECRET@",
        "TOPSECRET@127.0.0.1:x/y",
        "TOPSECRET@127.0.0.1:9/x y",
    ],
)
@pytest.mark.parametrize("scheme", ["mongodb://", "mongodb+srv://", "mongodb:/", ""])
def test_no_part_of_a_password_is_told(
    scheme: str, rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, f"{scheme}alice:{rest}")
    # No server is to be reached, and none is waited for.
    monkeypatch.setattr(mongod, "REACH_S", 0.1)
    monkeypatch.setattr(mongod, "GIVE_UP_S", 1.0)
    with pytest.raises(UserError) as caught:
        open_database(None, False, tmp_path)
    told = str(caught.value) + "".join(capfd.readouterr())
    assert "secret" not in told.lower()
    assert VARIABLE in told


def test_the_drivers_warnings_are_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, f"mongodb://127.0.0.1:{closed_port()}/x?retryWrite=true")
    with pytest.raises(UserError, match="not reached"):
        open_database(None, False, tmp_path)
    shown = f"{VARIABLE} mongodb://127.0.0.1:"
    assert capfd.readouterr().err.startswith(f"warning: {shown}")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: None, "not there"),
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.write_text("#!/bin/sh"), "not executable"),
    ],
)
def test_what_is_no_mongod_is_told_at_once(
    make: Any, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "mongod")
    monkeypatch.setenv("EXPERIMENTS_MONGOD", str(tmp_path / "mongod"))
    told = f"there is no mongod here: EXPERIMENTS_MONGOD names '{tmp_path / 'mongod'}', which is {what}"
    with open_database(None, False, tmp_path / "root") as destination:
        assert destination.database is None
        assert told in str(destination.note)
    with pytest.raises(UserError, match=told):
        open_database(None, False, tmp_path / "root", required=True)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("script", ["no program", "#!/bin/no_such_shell"])
def test_what_cannot_be_started_is_told_at_once(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mongod").write_text(script)
    (tmp_path / "mongod").chmod(0o755)
    monkeypatch.setenv("EXPERIMENTS_MONGOD", str(tmp_path / "mongod"))
    start = time.monotonic()
    with pytest.raises(UserError, match="no database: mongod ended with 126: "):
        open_database(None, False, tmp_path / "root", required=True)
    assert time.monotonic() - start < 15.0  # it waits for 30 s for a server that doesn't answer


@pytest.mark.parametrize(
    "address",
    [
        "mongodb://ann:pass-word@db.example/x",
        "mongodb+srv://db.example/x?tls=true&tlsCertificateKeyFilePassword=pass-word",
    ],
)
def test_a_password_on_the_command_line_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match=f"write the URI into {VARIABLE}, or into a file with chmod 600") as caught:
        open_database(address, False, tmp_path)
    assert "pass-word" not in str(caught.value)


def test_a_file_with_the_address_is_its_users_alone(
    server: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "uri"
    file.write_text(f"{EmbeddedServer(server.root).uri}/by_file\n")
    file.chmod(0o640)
    with pytest.raises(UserError, match="others may read or own this file; chmod 600"):
        open_database(f"@{file}", False, tmp_path)
    file.chmod(0o600)
    with open_database(f"@{file}", False, tmp_path) as destination:
        assert destination.database is not None
        assert destination.database.name == "by_file"
        assert destination.replay_command() == f"python -m experiments.db replay -m @{file}"
    monkeypatch.setenv(VARIABLE, f"@{file}")
    with open_database(None, False, tmp_path) as destination:
        assert destination.database is not None
        assert "by_file" not in destination.describe()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="can't be read: it is not text"):
        open_database(f"@{file}", False, tmp_path)
    with pytest.raises(UserError, match="can't be read: No such file"):
        open_database(f"@{file}x", False, tmp_path)


def test_journal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_database(None, True, tmp_path) as asked:
        assert (asked.database, asked.note) == (None, None)
        assert str(tmp_path / "runs") in asked.describe()
    with pytest.raises(UserError, match="contradict"):
        open_database("runs", True, tmp_path)
    monkeypatch.setenv("EXPERIMENTS_MONGOD", str(tmp_path / "missing"))
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


@pytest.fixture
def encrypted(binary: Path, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a server that speaks TLS alone, and the certificate that it signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    port = closed_port()
    (tmp_path / "db").mkdir()
    places = [f"--dbpath={tmp_path / 'db'}", f"--port={port}", "--bind_ip=127.0.0.1", "--nounixsocket"]
    options = ["--tlsMode=requireTLS", f"--tlsCertificateKeyFile={both}", "--wiredTigerCacheSizeGB=0.25"]
    server = subprocess.Popen([str(binary), *places, *options], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while server.poll() is None and time.monotonic() < deadline:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert server.poll() is None, server.communicate()[0][-2000:]
        yield port, certificate
    finally:
        server.kill()
        server.communicate()


def test_tls_with_a_certificate_of_ones_own(encrypted: tuple[int, Path], tmp_path: Path) -> None:
    port, certificate = encrypted
    address = f"mongodb://localhost:{port}/runs?tls=true"
    with open_database(f"{address}&tlsCAFile={certificate}", False, tmp_path) as destination:
        assert destination.database is not None
        destination.database.runs.insert_one({"_id": 1})
        assert destination.database.runs.count_documents({}) == 1
        assert destination.replay_command().endswith(f"-m {address}&tlsCAFile={certificate}")
    # Neither an unknown certificate nor one of another host is taken, and nobody falls back to plain text.
    elsewhere = f"mongodb://127.0.0.1:{port}/runs?tls=true&tlsCAFile={certificate}"
    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(refusal, [address, elsewhere, f"localhost:{port}:runs"], [tmp_path] * 3))
    assert "certificate verify failed" in told[0]
    assert "IP address mismatch" in told[1]
    assert "not reached within 5 s" in told[2]


def refusal(address: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_database(address, False, folder)
    return str(caught.value)

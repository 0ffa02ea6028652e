"""Downloads from a real server on this machine: whole, cut off, resumed, changed, refused, and not there."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.files import download

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file, with ranges; it may cut answers off, and it notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = CONTENT, '"one"'
        self.cuts: list[int] = []
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights/model.npz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        if self.path.partition("?")[0] != "/weights/model.npz":
            self.send_error(404)
            return
        start = self.range_start()
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.server.etag)
        if start:
            total = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)

    def range_start(self) -> int:
        asked = self.headers.get("Range", "")
        same = self.headers.get("If-Range") in (None, self.server.etag)
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0

    def log_message(self, format: str, *args: object) -> None:
        """Not on the tests' stderr."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def kept(folder: Path) -> list[str]:
    """What lies in the folder, if it is there, less the locks and the hash of the address before each name."""
    return sorted(path.name.partition("-")[2] for path in folder.glob("*") if path.suffix != ".lock")


def test_a_file_is_fetched_once_with_its_hash(server: Server, tmp_path: Path) -> None:
    first = download.fetch(server.url, tmp_path / "cache")
    again = download.fetch(f"{server.url}#sha256={SHA256.upper()}", tmp_path / "cache")
    assert first == again
    assert (first.path.read_bytes(), first.sha256) == (CONTENT, SHA256)
    assert server.asked == [None]
    assert kept(tmp_path / "cache") == ["model.npz", "model.npz.json"]
    recorded = json.loads(first.path.with_name(f"{first.path.name}.json").read_text())
    assert recorded == {"url": server.url, "sha256": SHA256, "size": len(CONTENT)}


def test_two_addresses_are_two_files(server: Server, tmp_path: Path) -> None:
    one, other = (download.fetch(url, tmp_path) for url in (server.url, server.url.replace("127.0.0.1", "localhost")))
    assert one.path != other.path


def test_a_signed_address_is_stored_without_its_signature(server: Server, tmp_path: Path) -> None:
    address = f"{server.url}?X-Signature=S3cret&part=1"
    found = download.fetch(address, tmp_path)
    stored = download.to_be_stored(address, found.sha256)
    assert stored == f"{server.url}?***#sha256={SHA256}"
    assert download.to_be_stored(stored, found.sha256) == stored
    assert not any(b"S3cret" in path.read_bytes() for path in tmp_path.iterdir())
    assert not any("S3cret" in path.name for path in tmp_path.iterdir())
    # The address that was stored finds the file by its content; so does one that was signed anew.
    assert download.is_here(stored, tmp_path)
    assert download.fetch(stored, tmp_path) == found
    assert download.fetch(f"{server.url}?X-Signature=other#sha256={SHA256}", tmp_path) == found
    assert len(server.asked) == 1
    found.path.unlink()
    with pytest.raises(UserError, match="addresses are stored without their query: give the full address again"):
        download.fetch(stored, tmp_path)
    for wrong in (address.replace("model", "nosuch"), f"{address}#sha256={'0' * 64}", f"{address}#sha256=0"):
        with pytest.raises(UserError) as caught:
            download.fetch(wrong, tmp_path)
        assert "S3cret" not in str(caught.value)


def test_addresses_that_may_be_stored_stay_as_they_are() -> None:
    for address in ("https://example.org/w.npz", f"gs://bucket/w.npz#sha256={SHA256}"):
        assert download.to_be_stored(address, SHA256) == address
    assert (
        download.to_be_stored("https://a:b@example.org/w.npz", SHA256) == f"https://example.org/w.npz#sha256={SHA256}"
    )


def test_what_is_cut_off_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.cuts = [3000, 2000]
    assert download.fetch(server.url, tmp_path).path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-", "bytes=5000-"]


def test_a_later_command_goes_on(server: Server, tmp_path: Path) -> None:
    server.cuts = [4000, 0]
    with pytest.raises(UserError, match=r"can't be fetched: .*; 0\.0 MB are kept, the same command resumes from there"):
        download.fetch(server.url, tmp_path)
    assert kept(tmp_path) == ["model.npz.part", "model.npz.part.tag"]
    assert download.fetch(server.url, tmp_path).sha256 == SHA256
    assert server.asked[-1] == "bytes=4000-"
    assert kept(tmp_path) == ["model.npz", "model.npz.json"]


def test_a_file_that_changed_in_between_comes_whole(server: Server, tmp_path: Path) -> None:
    server.cuts = [4000, 0]
    with pytest.raises(UserError):
        download.fetch(server.url, tmp_path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert download.fetch(server.url, tmp_path).path.read_bytes() == CONTENT[::-1]


def test_a_part_that_is_too_long_is_begun_again(server: Server, tmp_path: Path) -> None:
    server.cuts = [4000, 0]
    with pytest.raises(UserError):
        download.fetch(server.url, tmp_path)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(CONTENT + b"more")
    assert download.fetch(server.url, tmp_path).sha256 == SHA256


def test_another_hash_is_refused_and_nothing_is_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"has the SHA-256 {SHA256[:16]}\.\.\., expected 0{{16}}\.\.\."):
        download.fetch(f"{server.url}#sha256={'0' * 64}", tmp_path)
    assert kept(tmp_path) == []
    assert download.fetch(server.url, tmp_path).sha256 == SHA256


def test_a_damaged_copy_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = download.fetch(server.url, tmp_path).path
    path.write_bytes(CONTENT[:-1] + b"x")
    assert download.fetch(server.url, tmp_path).path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_what_is_not_there_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other\.npz answers 404 Not Found"):
        download.fetch(server.url.replace("model", "other"), tmp_path)


def test_what_is_refused_leaves_nothing(server: Server, tmp_path: Path) -> None:
    for url in (server.url.replace("model", "other"), f"{server.url}#sha256={'0' * 64}"):
        with pytest.raises(UserError):
            download.fetch(url, tmp_path / "cache" / "weights")
        assert not list(tmp_path.iterdir())


def test_without_a_network_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/w.npz"
        with pytest.raises(UserError, match=r"can't be fetched: .*refused.* fetch it elsewhere and give its path"):
            download.fetch(url, tmp_path)


def test_addresses() -> None:
    assert download._parts("gs://bit_models/a/b.npz")[0] == "https://storage.googleapis.com/bit_models/a/b.npz"
    assert not download.is_url("C:/weights.npz")
    with pytest.raises(UserError, match="expected sha256= and 64 hexadecimal digits"):
        download._parts("https://example.org/w.npz#md5=1")

"""Files from the network, fetched once: resumed if interrupted, checked, with their SHA-256 in a file next to them."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit, urlunsplit

from framework.errors import UserError
from framework.files.arrays import digest, write_text
from framework.files.locks import held

SCHEMES = ("http", "https", "gs")
_ATTEMPTS = 5
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 20
_HIDDEN = "***"


@dataclass(frozen=True)
class Fetched:
    """A file that is here now.

    Attributes:
        path: of the file.
        sha256: of its content, in hexadecimal digits.
    """

    path: Path
    sha256: str


def is_url(text: str) -> bool:
    """Whether a text is an address that `fetch` takes.

    >>> is_url("https://example.org/w.npz"), is_url("./w.npz"), is_url("gs://bucket/w.npz")
    (True, False, True)
    """
    return urlsplit(text).scheme in SCHEMES and "://" in text


def fetch(url: str, folder: Path) -> Fetched:
    """Download a file, unless it is there already.

    Args:
        url: http, https, or gs for a public bucket of Google's; `#sha256=...` behind it says what is expected.
        folder: where files are kept; made if need be. A partial download stays there and is resumed.

    Raises:
        UserError: it can't be reached, breaks off again and again, or has another SHA-256.
    """
    address, expected = _parts(url)
    if (kept := _found(address, expected, folder)) is not None:
        return kept
    if urlsplit(address).query == _HIDDEN:
        raise UserError(
            f"{url}: that file is no longer in {folder}, and addresses are stored without their query: give the full "
            "address again"
        )
    path = _place(address, folder)
    with held(path):
        return _found(address, expected, folder) or Fetched(path, _download(address, path, expected))


def is_here(url: str, folder: Path) -> bool:
    """Whether `fetch` would find the file without asking anybody."""
    address, expected = _parts(url)
    return _found(address, expected, folder) is not None


def public(url: str) -> str:
    """An address without what may be a secret in it: the user's name and password, and the query of a signed one.

    >>> public("https://ann:pw@example.org/w.npz?X-Amz-Signature=1f"), public("gs://bucket/w.npz")
    ('https://example.org/w.npz?***', 'gs://bucket/w.npz')
    """
    parts = urlsplit(url)
    hidden = _HIDDEN if parts.query else ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=hidden))


def to_be_stored(url: str, sha256: str) -> str:
    """An address that may be written down: itself, or without its secrets and with the SHA-256 of what was fetched.

    By that, `fetch` finds the file again among those that it keeps.
    """
    shown = public(url)
    return url if shown == url else f"{urldefrag(shown)[0]}#sha256={sha256}"


def _found(address: str, expected: str, folder: Path) -> Fetched | None:
    """A file that is there whole: by the SHA-256 that is expected of it, whatever its address was, else by that."""
    records = sorted(folder.glob("*.json")) if expected else [_record(_place(address, folder))]
    for record in records:
        path = record.with_suffix("")
        try:
            recorded = str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
            if expected in ("", recorded) and digest(path) == recorded:
                return Fetched(path, recorded)
        except (OSError, ValueError, KeyError):
            continue
    return None


def _place(address: str, folder: Path) -> Path:
    name = re.sub(r"[^\w.-]", "_", urlsplit(address).path.rsplit("/", 1)[-1]) or "file"
    return folder / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}"


def _parts(url: str) -> tuple[str, str]:
    """The address to ask, and the SHA-256 that is expected or an empty text."""
    address, fragment = urldefrag(url)
    if fragment and not re.fullmatch(r"sha256=[0-9a-fA-F]{64}", fragment):
        raise UserError(f"{public(url)}: after the # expected sha256= and 64 hexadecimal digits")
    if address.startswith("gs://"):
        address = f"https://storage.googleapis.com/{address.removeprefix('gs://')}"
    return address, fragment.removeprefix("sha256=").lower()


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _download(address: str, path: Path, expected: str) -> str:
    part = path.with_name(f"{path.name}.part")
    _complete(address, part)
    part.with_name(f"{part.name}.tag").unlink(missing_ok=True)
    found = digest(part)
    if expected and found != expected:
        part.unlink()
        raise UserError(
            f"{public(address)} has the SHA-256 {found[:16]}..., expected {expected[:16]}...: it was deleted"
        )
    size = part.stat().st_size
    part.replace(path)
    write_text(_record(path), json.dumps({"url": public(address), "sha256": found, "size": size}, indent=1) + "\n")
    return found


def _complete(address: str, part: Path) -> None:
    """Fetch what is missing of a file, asking again from where it broke off as long as that brings it further."""
    have, problem = -1, ""
    for _ in range(_ATTEMPTS):
        if _size(part) == have:
            break
        have = _size(part)
        try:
            if _go_on(address, part):
                return
            problem = "the connection was cut off"
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise UserError(f"{public(address)} answers {error.code} {error.reason}") from error
            part.unlink()
        except (OSError, http.client.HTTPException) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
    kept = f"; {_size(part) / 1e6:.1f} MB are kept, the same command resumes from there" if _size(part) else ""
    raise UserError(
        f"{public(address)} can't be fetched: {problem}{kept}. Without a network, fetch it elsewhere and give its path"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _go_on(address: str, part: Path) -> bool:
    """One request for the rest of a file; whether it is whole now."""
    tag = part.with_name(f"{part.name}.tag")
    have = _size(part) if tag.exists() else 0
    # Only the rest of the very file that was begun: another version of it comes whole.
    headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text()} if have else {}
    request = urllib.request.Request(address, headers={"User-Agent": "patient-teachers", **headers})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT and _start(response.headers) == have
        have = have if resumed else 0
        tag.unlink(missing_ok=True)
        if version := response.headers.get("ETag") or response.headers.get("Last-Modified"):
            tag.write_text(version)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if resumed else "wb") as file, _bar(part.name, have, total) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    return total is None or _size(part) == total


def _start(headers: Mapping[str, str]) -> int | None:
    """Where the part that the server sends begins."""
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _bar(name: str, have: int, total: int | None) -> Any:
    """A bar on stderr, silent where stderr is no terminal."""
    from tqdm import tqdm

    what = name.partition("-")[2].removesuffix(".part")
    return tqdm(total=total, initial=have, desc=what, unit="B", unit_scale=True, disable=None, leave=False)

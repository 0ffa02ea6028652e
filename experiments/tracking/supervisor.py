"""The embedded server's keeper: a detached process that starts mongod, restarts it, and stops it after its last client.

Run as a script with the standard library alone, so that it starts at once and stays small:
`python supervisor.py FOLDER SOCKET MONGOD ARGUMENTS...`. It knows its clients by their shared lock on `clients.lock`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 0.2
LINGER_S = 2.0
GUARD_S = 2.0
MAX_RESTARTS = 5
RESTART_WINDOW_S = 60.0
STOP_S = 30.0
_SET_PARENT_DEATH_SIGNAL = 1


def lock(path: Path) -> int | None:
    """Take an exclusive lock at once; the descriptor, or None when somebody else holds the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def die_with_parent() -> None:
    """In a child on Linux: the end of the thread that started it, however it comes, is a SIGTERM for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


class Supervisor:
    """One server in one folder."""

    def __init__(self, folder: Path, socket: Path, command: list[str]) -> None:
        self._folder, self._socket, self._command = folder, socket, command
        self._starts: list[float] = []
        self._asked = False
        self._child: subprocess.Popen[bytes]

    def run(self) -> None:
        """Keep the server until nobody needs it."""
        deadline = time.monotonic() + GUARD_S  # somebody who looks whether it is held holds it for a moment
        while (guard := lock(self._folder / "supervisor.lock")) is None:
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask)
        (self._folder / "stop.request").unlink(missing_ok=True)
        try:
            self._start()
        except OSError as error:
            self._fail(error)
            return
        clients = self._watch()
        self._stop()
        os.close(guard)  # before the clients' lock: who gets that one must see that there is no supervisor
        if clients is not None:
            os.close(clients)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def _watch(self) -> int | None:
        """Wait for the end; returns the exclusive clients' lock where there are no clients any more."""
        idle_since = None
        while not self._asked and not (self._folder / "stop.request").exists():
            if self._child.poll() is not None and not self._restart():
                return None
            clients = lock(self._folder / "clients.lock")
            if clients is None:
                idle_since = None
            elif time.monotonic() - (idle_since := idle_since or time.monotonic()) >= LINGER_S:
                return clients
            else:
                os.close(clients)
            time.sleep(POLL_S)
        return None

    def _start(self) -> None:
        self._starts.append(time.monotonic())
        self._socket.unlink(missing_ok=True)
        with open(self._folder / "mongod.err", "wb") as errors:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                preexec_fn=die_with_parent,
            )
        state = {"pid": self._child.pid, "supervisor": os.getpid(), "socket": str(self._socket), "started": time.time()}
        self._write("server.json", json.dumps(state))

    def _restart(self) -> bool:
        """Start a server again that died; a server that keeps dying is given up, and its exit code left in a file."""
        now = time.monotonic()
        self._starts = [start for start in self._starts if now - start < RESTART_WINDOW_S]
        died_at_once = bool(self._starts) and now - self._starts[-1] < 1.0 and self._child.returncode != -signal.SIGKILL
        if died_at_once or len(self._starts) >= MAX_RESTARTS:
            self._write("failure", str(self._child.returncode))
            return False
        self._start()
        return True

    def _fail(self, error: OSError) -> None:
        """The binary can't be started at all: shells end with 126 then."""
        (self._folder / "mongod.err").write_text(f"{error.strerror or error}: {self._command[0]}\n")
        self._write("failure", "126")

    def _stop(self) -> None:
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for name in ("server.json", "stop.request"):
            (self._folder / name).unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        temporary = self._folder / f"{name}.tmp"
        temporary.write_text(text)
        temporary.replace(self._folder / name)


def main(arguments: list[str]) -> None:
    """Detach from the starting process, then keep the server."""
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    Supervisor(Path(arguments[0]), Path(arguments[1]), arguments[2:]).run()


if __name__ == "__main__":
    main(sys.argv[1:])

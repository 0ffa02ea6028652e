"""Takes the MongoDB server away from a run: `python -m tests.experiments.tracking.outages --seconds 1800 killed`.

A real server is killed, stopped in mid-write (it answers nobody and closes nothing), or finds its disk full; it comes
back after a while, or not before the run has ended; or the run was started without one. In the end, each point is in
the database once, a second replay changes nothing, and what the run waited is counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from experiments.tracking.embedded import answers, find_mongod
from experiments.tracking.folders import new_run_folder
from experiments.tracking.mongod import Destination, open_database
from experiments.tracking.publisher import replay
from experiments.tracking.recorder import PACE, Pace, Tracker

KINDS = ("killed", "frozen", "full", "for ever", "offline")


class Server:
    """A server of its own on a Unix socket, which nobody starts again by themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "m.sock"
        (folder / "db").mkdir(parents=True)
        self.uri = f"mongodb://{quote(str(self.socket), safe='')}/outages"
        self.start()

    def start(self) -> None:
        binary = find_mongod()
        assert binary is not None
        places = [f"--dbpath={self.folder / 'db'}", f"--bind_ip={self.socket}", f"--unixSocketPrefix={self.folder}"]
        lean = ["--wiredTigerCacheSizeGB=0.25", "--setParameter=diagnosticDataCollectionEnabled=false"]
        log = ["--wiredTigerEngineConfigString=log=(prealloc=false,file_max=8MB)"]
        self.socket.unlink(missing_ok=True)
        # Python ignores SIGXFSZ, and so does this child: a write beyond its limit fails as on a full disk.
        said = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([str(binary), *places, *lean, *log], restore_signals=False, **said)
        deadline = time.monotonic() + 60
        while not answers(self.socket):
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def take_away(self, kind: str) -> None:
        """Let the server fail in one of the ways."""
        if kind == "frozen":
            self.process.send_signal(signal.SIGSTOP)
        elif kind == "full":
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        else:
            self.process.kill()

    def bring_back(self) -> None:
        """As it was, with all that it had acknowledged. A server whose disk is full has ended by itself."""
        self.process.send_signal(signal.SIGCONT)
        if self.process.poll() is not None:
            self.start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Training:
    """Steps that are told to a tracker: the seconds that this took in all, and those at the run's start and end."""

    def __init__(self, tracker: Tracker, pause: float) -> None:
        self.tracker, self.pause, self.steps = tracker, pause, 0
        self.told, self.waited = 0.0, 0.0

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        started = time.monotonic()
        result = function(*arguments)
        self.waited += time.monotonic() - started
        return result

    def go_on(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            started = time.monotonic()
            self.tracker.metrics(self.steps, {"loss": float(self.steps), "text": 1.0 / (self.steps + 1)})
            self.told += time.monotonic() - started
            self.steps += 1
            time.sleep(self.pause)


def outage(kind: str, folder: Path, seconds: float, pace: Pace = PACE, pause: float = 0.002) -> dict[str, Any]:
    """One run and its outage; the report as plain values, AssertionError where a point is lost or doubled."""
    server = Server(folder / "server")
    try:
        return _outage(kind, folder, seconds, pace, pause, server)
    finally:
        server.stop()


def _outage(kind: str, folder: Path, seconds: float, pace: Pace, pause: float, server: Server) -> dict[str, Any]:
    with open_database(server.uri, False, folder) as reachable:
        destination = Destination(folder) if kind == "offline" else reachable
        tracker = Tracker(new_run_folder(folder), destination, pace)
        training = Training(tracker, pause)
        training.call(tracker.publish)
        training.go_on(1.0)
        server.take_away(kind)
        training.go_on(seconds)
        if kind not in ("for ever", "offline"):
            assert (server.process.poll() is None) == (kind == "frozen"), kind
            server.bring_back()
            training.go_on(2 * pace.backoff + 2.0)
        training.call(tracker.ended, "COMPLETED", {})
        note = training.call(tracker.close)
    # Whatever was away is there again when somebody looks for the run.
    server.bring_back()
    with open_database(server.uri, False, folder) as found:
        assert found.database is not None
        replays = [replay(tracker.folder, found.database) for _ in range(2)]
        chunks = list(found.database.metric_chunks.find({"uid": tracker.uid, "name": "loss"}).sort("chunk", 1))
        steps = [step for chunk in chunks for step in chunk["steps"]]
        assert steps == list(range(training.steps)), (kind, len(steps), training.steps)
        runs = [run["status"] for run in found.database.runs.find()]
        assert runs == ["COMPLETED"], (kind, runs)
        assert replays == ["present" if note is None and kind != "offline" else "written", "present"], (
            kind,
            replays,
            note,
        )
    away = {"kind": kind, "away_s": seconds, "points": training.steps, "lost": training.steps - len(set(steps))}
    times = {"waited_s": round(training.waited, 2), "told_s": round(training.told, 2)}
    return away | {"in the database at the end": note is None and kind != "offline"} | times


def all_of(kinds: tuple[str, ...], folder: Path, seconds: float, pace: Pace = PACE, pause: float = 0.002) -> list[Any]:
    """Several at once, each with a server of its own."""
    with ThreadPoolExecutor(len(kinds)) as pool:
        places = [folder / f"outage{place}" for place in range(len(kinds))]
        return list(pool.map(lambda kind, place: outage(kind, place, seconds, pace, pause), kinds, places))


def main() -> None:
    """Run outages at the pace of real runs and print what they cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pause", type=float, default=0.02, help="between two points, in seconds")
    parser.add_argument("kinds", nargs="*", default=KINDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        json.dump(all_of(tuple(given.kinds), Path(folder), given.seconds, PACE, given.pause), sys.stdout, indent=1)


if __name__ == "__main__":
    main()

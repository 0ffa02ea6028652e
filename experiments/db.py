"""The database of runs: `python -m experiments.db serve|status|stop|replay`.

Runs start and stop the embedded server by themselves; `serve` keeps it up for other tools, `replay` brings journaled
runs into a database (again).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.command.exit import DONE, FAULT, Parser, add_debug, guarded, say
from experiments.tracking.embedded import DEFAULT_NAME, EmbeddedServer, find_mongod
from experiments.tracking.folders import found_root, run_folders
from experiments.tracking.journal import JOURNAL, is_alive
from experiments.tracking.mongod import VARIABLE, open_database, open_embedded
from experiments.tracking.publisher import replay
from experiments.tracking.served import Served, is_free
from framework.errors import UserError

NAME = "experiments.db"


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the database is, and how much is said about faults."""
    parser.add_argument(
        "-m",
        "--mongo_db",
        "--uri",
        dest="uri",
        metavar="ADDRESS",
        help=f"host:port:db or a mongodb:// URI; otherwise {VARIABLE}, otherwise the embedded server",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=None,
        metavar="DIR",
        help="the folder of journals and embedded server (default: EXPERIMENTS_DIR, or .experiments here or above)",
    )
    add_debug(parser)


def positive(text: str) -> int:
    """A number of things on a command line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, got {text!r}")
    return int(text)


def serve(root: Path, port: int | None) -> int:
    """Keep the embedded server up, on a port, too, where one is given, until Ctrl-C, SIGTERM, or the terminal's end.

    Raises:
        UserError: the port is taken, or the server can't be had.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())
    if port is not None and not is_free(port):
        raise UserError(f"--port {port}: another program listens there")
    server = EmbeddedServer(root) if port is None else Served(root, port)
    with open_embedded(server, root, required=True) as destination:
        print(f"serving {destination.describe()}\n{_where(server)}\nCtrl-C ends it", flush=True)
        while not stopped.wait(1.0):
            if not server.state()["running"] and not destination.revive():
                say(NAME, "the server has ended")
                return FAULT
    return DONE


def _where(server: EmbeddedServer) -> str:
    if isinstance(server, Served):
        return f"for reading, the address in {server.address_file}: -m @{server.address_file}"
    return f"{server.uri}/{DEFAULT_NAME}"


def status(root: Path) -> int:
    """Say whether the embedded server runs, where, and what is in it."""
    server = EmbeddedServer(root)
    state = server.state()
    if state["running"]:
        port = f", port {state['port']}" if state.get("port") else ""
        used = "in use" if state["used"] else "idle"
        print(f"running: pid {state.get('pid')}, {server.uri}/{DEFAULT_NAME}{port}, {used}")
    else:
        print(f"not running ({'it starts with the next run' if find_mongod() else 'there is no mongod here'})")
    folders = run_folders(root)
    size = sum(path.stat().st_size for path in server.folder.rglob("*") if path.is_file())
    alive = sum(map(is_alive, folders))
    print(f"{root}: {len(folders)} journaled runs, {alive} running; database {size / 1e6:.0f} MB")
    return DONE


def stop(root: Path, now: bool) -> int:
    """Stop the embedded server; one that is in use only when asked twice."""
    server = EmbeddedServer(root)
    state = server.state()
    if not state["running"]:
        print("not running")
        return DONE
    if state["used"] and not now:
        raise UserError(
            "it is in use and stops by itself after its last run; --now stops it at once (no run loses anything)"
        )
    if not server.stop():
        say(NAME, "the server doesn't stop")
        return FAULT
    print("stopped")
    return DONE


def replay_all(root: Path, uri: str | None, uids: Sequence[str], force: bool) -> int:
    """Bring journaled runs into the database; how many, and which couldn't be."""
    folders = run_folders(root)
    chosen = [folder for folder in folders if not uids or any(folder.name.startswith(uid) for uid in uids)]
    for uid in uids:
        if not any(folder.name.startswith(uid) for folder in folders):
            raise UserError(f"no journaled run {uid!r} in {root / 'runs'}; {len(folders)} are there")
    if not folders:
        print(f"there are no journaled runs in {root / 'runs'}")
        return DONE
    counts: Counter[str] = Counter()
    with open_database(uri, False, root, required=True) as destination:
        assert destination.database is not None
        for folder in chosen:
            try:
                counts[replay(folder, destination.database, force)] += 1
            except OSError as error:
                counts["failed"] += 1
                say(NAME, f"{folder / JOURNAL}: {error.strerror}")
        print(
            f"{counts['written']} written, {counts['present']} already there, {counts['running']} still running, "
            f"{counts['failed']} failed, in {destination.describe()}"
        )
    return FAULT if counts["failed"] else DONE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=f"python -m {NAME}", description=(__doc__ or "").split("\n", 2)[2].strip())
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|status|stop|replay")
    for name, text in (
        ("serve", "keep the embedded server up until Ctrl-C"),
        ("status", "say whether the embedded server runs, and where"),
        ("stop", "stop the embedded server"),
        ("replay", "bring journaled runs into a database; doing it twice changes nothing"),
    ):
        add_address(commands.add_parser(name, help=text, description=text))
    commands.choices["serve"].add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="listen on this port of 127.0.0.1 too, with a user that can only read: for tools that take no Unix socket",
    )
    commands.choices["stop"].add_argument("--now", action="store_true", help="even while runs use it")
    commands.choices["replay"].add_argument("uids", nargs="*", metavar="UID", help="only these runs (beginnings do)")
    commands.choices["replay"].add_argument("--force", action="store_true", help="write again what is already there")
    found = parser.parse_args(arguments)
    if found.uri and found.command != "replay":
        parser.error(f"{found.command} is about the embedded server and takes no address")
    return found


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"takes a number from 1 to 65535, got {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    found = parse(arguments)
    root = (found.dir or found_root()).absolute()
    commands: dict[str, Callable[[], int]] = {
        "serve": lambda: serve(root, found.port),
        "status": lambda: status(root),
        "stop": lambda: stop(root, found.now),
        "replay": lambda: replay_all(root, found.uri, found.uids, found.force),
    }
    return guarded(NAME, commands[found.command], found.debug)


if __name__ == "__main__":
    sys.exit(main())

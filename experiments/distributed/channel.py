"""What the processes of a world tell each other besides gradients: a star of sockets around the first of them.

Lines of JSON go over it: small values that all need, a sign of life each second, and how a process ends. So each knows
within seconds which of them has died, whatever the backend's collective operations are waiting for.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from experiments.distributed.environment import Place
from framework.errors import UserError

# Seconds between two signs of life; that a process has for its own end once another is lost; and for the news of it.
_BEAT, GRACE, _NEWS = 1.0, 10.0, 3.0
_FAULT = 1


class RankLost(RuntimeError):
    """Another process has ended, so that this one can't go on."""


class Star:
    """A process's end of the channel; see `framework.world.Channel`.

    Args:
        place: of the process.
        patience: seconds without a sign of life, or without a step while training, after which a process is lost.

    Attributes:
        on_lost: called with the reason where this process can't end by itself, just before it is ended.
        host: by which the others reach this machine.

    Raises:
        UserError: the others can't be reached.
    """

    def __init__(self, place: Place, patience: float) -> None:
        self.rank, self.size, self.patience = place.rank, place.size, patience
        self.on_lost: Callable[[str], None] = lambda why: print(why, file=sys.stderr, flush=True)
        self._news = threading.Condition()
        self._why = ""
        self._given: dict[int, list[Any]] = {rank: [] for rank in range(self.size)}
        self._all: list[list[Any]] = []
        self._peers: dict[int, socket.socket] = {}
        self._lines: dict[int, BinaryIO] = {}
        self._heard: dict[int, float] = {}
        self._gone: set[int] = set()
        self._moved: float | None = None
        self._closed = threading.Event()
        self._sending = threading.Lock()
        self._meet(place)
        for rank, lines in self._lines.items():
            self._thread(self._listen, rank, lines)
        self._thread(self._watch)

    @property
    def is_lost(self) -> bool:
        """Whether a process of this world has ended early."""
        return bool(self._why)

    def gather(self, value: Any) -> list[Any]:
        """See `framework.world.Channel`."""
        self.moved(self._moved is not None)
        if self.rank:
            self._tell(0, {"value": value})
            return self._await(lambda: self._all and self._all.pop(0))
        with self._news:
            self._given[0].append(value)
        values = self._await(self._complete)
        for rank in self._peers:
            self._tell(rank, {"all": values})
        return values

    def moved(self, training: bool = True) -> None:
        """Note that a step was done; with `training` False, that none is expected for now."""
        self._moved = time.monotonic() if training else None

    def blamed(self, error: Exception) -> Exception:
        """See `framework.world.Channel`."""
        with self._news:
            self._news.wait_for(lambda: bool(self._why), _NEWS)
        if not self._why or isinstance(error, RankLost):
            return error
        lost = RankLost(self._why)
        lost.__cause__ = error
        return lost

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process ends early, and why."""
        if not self._why:
            self._lose(f"rank {self.rank} failed: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Take leave: nobody waits for this process any more."""
        self._closed.set()
        for rank in self._peers:
            self._tell(rank, {"bye": True})

    def _meet(self, place: Place) -> None:
        deadline = time.monotonic() + min(self.patience, 300.0)
        try:
            if self.rank:
                self._peers[0] = peer = self._reach(place, deadline)
                self._lines[0] = peer.makefile("rb")
                self._tell(0, {"rank": self.rank})
            else:
                self._receive(place, deadline)
        except OSError as error:
            raise UserError(
                f"{place.launcher}: rank {self.rank} of {self.size} doesn't reach the others at {place.host}:"
                f"{place.port}: {error.strerror or error}"
            ) from error
        self.host = next(iter(self._peers.values())).getsockname()[0]
        now = time.monotonic()
        self._heard = dict.fromkeys(self._peers, now)

    def _reach(self, place: Place, deadline: float) -> socket.socket:
        while True:
            try:
                found = socket.create_connection((place.host, place.port), timeout=5.0)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                found.settimeout(None)
                return found

    def _receive(self, place: Place, deadline: float) -> None:
        with socket.create_server((place.host, place.port)) as server:
            while len(self._peers) < self.size - 1:
                server.settimeout(max(0.1, deadline - time.monotonic()))
                peer, _ = server.accept()
                peer.settimeout(5.0)
                self._greet(peer)

    def _greet(self, peer: socket.socket) -> None:
        """Whoever says no rank is nobody of ours."""
        lines = peer.makefile("rb")
        try:
            rank = int(json.loads(lines.readline(200))["rank"])
        except (OSError, ValueError, KeyError, TypeError):
            rank = -1
        if 0 < rank < self.size and rank not in self._peers:
            peer.settimeout(None)
            self._peers[rank], self._lines[rank] = peer, lines
        else:
            lines.close()
            peer.close()

    def _listen(self, rank: int, lines: BinaryIO) -> None:
        with contextlib.suppress(OSError, ValueError), lines:
            for line in lines:
                self._hear(rank, json.loads(line))
        if rank not in self._gone:
            self._lose(f"rank {rank} died without a word")

    def _hear(self, rank: int, said: dict[str, Any]) -> None:
        with self._news:
            self._heard[rank] = time.monotonic()
            if "value" in said:
                self._given[rank].append(said["value"])
            elif "all" in said:
                self._all.append(said["all"])
            elif "bye" in said:
                self._gone.add(rank)
            self._news.notify_all()
        if "lost" in said:
            self._lose(said["lost"])

    def _complete(self) -> list[Any]:
        return [self._given[rank].pop(0) for rank in range(self.size)] if all(self._given.values()) else []

    def _await(self, ready: Callable[[], list[Any]]) -> list[Any]:
        with self._news:
            found = self._news.wait_for(lambda: self._why or ready())
            if isinstance(found, str):
                raise RankLost(found)
            return found

    def _tell(self, rank: int, what: dict[str, Any]) -> None:
        # Where that fails, who listens to it notices.
        with contextlib.suppress(OSError), self._sending:
            self._peers[rank].sendall(json.dumps(what).encode() + b"\n")

    def _lose(self, why: str) -> None:
        with self._news:
            if self._why or self._closed.is_set():
                return
            self._why = why
            self._news.notify_all()
        for rank in self._peers:
            self._tell(rank, {"lost": why})
        self._thread(self._end)

    def _end(self) -> None:
        """A process that waits in a collective operation can't end by itself."""
        if not self._closed.wait(GRACE):
            self.on_lost(self._why)
            sys.stderr.flush()
            os._exit(_FAULT)

    def _watch(self) -> None:
        while not self._closed.wait(_BEAT):
            for rank in self._peers:
                self._tell(rank, {"beat": True})
            now = time.monotonic()
            for rank, heard in list(self._heard.items()):
                if rank not in self._gone and now - heard > self.patience:
                    self._lose(f"rank {rank} has not been heard of for {self.patience:g} s")
            if self._moved is not None and now - self._moved > self.patience:
                self._lose(f"no step for {self.patience:g} s: a process hangs (rank_timeout)")

    def _thread(self, work: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=work, args=args, name="ranks", daemon=True).start()

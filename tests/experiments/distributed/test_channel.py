"""What processes tell each other, and how they notice that one is gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from experiments.distributed import channel
from experiments.distributed.channel import RankLost, Star
from experiments.distributed.environment import Place
from framework.errors import UserError
from tests.backends.worlds import free_port


@contextmanager
def stars(size: int, patience: float = 30.0) -> Iterator[list[Star]]:
    port, found = free_port(), dict[int, Star]()

    def meet(rank: int) -> None:
        found[rank] = Star(Place("here", rank, size, rank, size, "127.0.0.1", port), patience)
        # These are threads of one process: nobody is ended.
        found[rank].on_lost = lambda why: None

    threads = [threading.Thread(target=meet, args=(rank,)) for rank in reversed(range(size))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield [found[rank] for rank in range(size)]
    for star in found.values():
        star.close()


def all_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(calls)

    def call(place: int) -> None:
        try:
            results[place] = calls[place]()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results[place] = error

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    return results


def test_each_hears_what_all_say_in_the_order_of_the_ranks() -> None:
    with stars(3) as found:
        for value in (1, {"x": 0.1 + 0.2, "n": None}, float("inf")):
            said = [[star.rank, value] for star in found]
            results = all_at_once([lambda star=star, own=own: star.gather(own) for star, own in zip(found, said)])  # noqa: B905
            assert results == [said] * 3


def test_the_end_of_one_reaches_all_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "GRACE", 3600.0)
    with stars(3) as found:
        found[2].fail(ValueError("no such weights"))
        results = all_at_once([lambda star=star: star.gather(1) for star in found])
        for result in results:
            assert isinstance(result, RankLost)
            assert str(result) == "rank 2 failed: ValueError: no such weights"
        # What an engine says of it is only the consequence.
        blamed = found[0].blamed(OSError("connection closed by peer"))
        assert isinstance(blamed, RankLost)
        assert isinstance(blamed.__cause__, OSError)


def test_who_dies_or_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "GRACE", 3600.0)
    with stars(2) as found:
        found[1]._peers[0].shutdown(2)
        assert str(all_at_once([lambda: found[0].gather(1)])[0]) == "rank 1 died without a word"
    monkeypatch.setattr(channel, "_BEAT", 0.05)
    with stars(2, patience=0.6) as found:
        found[0].moved()
        deadline = time.monotonic() + 10.0
        while not found[1]._why and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found[1]._why == "no step for 0.6 s: a process hangs (rank_timeout)"


def test_who_took_leave_is_missed_by_nobody() -> None:
    with stars(2) as found:
        found[1].close()
        error = OSError("broken")
        assert found[0].blamed(error) is error


def test_a_stranger_is_sent_away() -> None:
    port, found = free_port(), dict[int, Star]()

    def meet(rank: int) -> None:
        found[rank] = Star(Place("here", rank, 2, rank, 2, "127.0.0.1", port), 30.0)

    first = threading.Thread(target=meet, args=(0,))
    first.start()
    for said in (b"GET / HTTP/1.1\r\n", b'{"rank": 7}\n'):
        with stranger(port) as peer:
            peer.sendall(said)
            assert peer.recv(1) == b""
    meet(1)
    first.join()
    assert all_at_once([lambda star=star: star.gather(star.rank) for star in found.values()]) == [[0, 1]] * 2
    for star in found.values():
        star.close()


def stranger(port: int) -> socket.socket:
    """A connection of nobody's, once the first process listens."""
    deadline = time.monotonic() + 10.0
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10.0)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_nobody_there() -> None:
    lonely = Place("torchrun", 1, 2, 1, 2, "127.0.0.1", free_port())
    with pytest.raises(UserError, match=r"torchrun: rank 1 of 2 doesn't reach the others at 127.0.0.1:\d+"):
        Star(lonely, 0.5)

"""Signals become a note where a loop looks for one, and an exception elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from framework.loop.stop import Stop


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, "INTERRUPTED"),
        (signal.SIGHUP, "INTERRUPTED"),
        (signal.SIGTERM, "PREEMPTED"),
        (signal.SIGUSR1, "PREEMPTED"),
        (signal.SIGUSR2, "PREEMPTED"),
    ],
)
def test_a_heeded_signal_is_noted(number: int, status: str) -> None:
    with Stop().listening() as stop, stop.heeding():
        assert stop.status is None
        os.kill(os.getpid(), number)
        assert stop.status == status


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, "INTERRUPTED"), (signal.SIGTERM, "PREEMPTED")])
def test_a_signal_that_nobody_heeds_raises_at_once(number: int, status: str) -> None:
    stop = Stop()
    with stop.listening(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert stop.status == status


class Slow:
    """Is asked to end while it is destroyed."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def wait() -> None:
    for _ in range(1000):
        time.sleep(0.01)


def test_an_interrupt_in_a_destructor_is_raised_after_it(capfd: pytest.CaptureFixture[str]) -> None:
    hook = sys.unraisablehook
    with Stop().listening() as stop:
        Slow()  # Python drops what is raised in there
        with pytest.raises(KeyboardInterrupt):
            wait()
    assert stop.status == "INTERRUPTED"
    assert capfd.readouterr().err == ""
    assert sys.unraisablehook == hook


def test_other_faults_of_destructors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Faulty:
        def __del__(self) -> None:
            raise ZeroDivisionError

    with Stop().listening():
        Faulty()
    assert len(told) == 1


def test_heeding_ends() -> None:
    stop = Stop()
    with stop.listening():
        with stop.heeding():
            pass
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_ctrl_c_raises() -> None:
    with Stop().listening() as stop, stop.heeding():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_ctrl_c_after_sigterm_raises_and_keeps_what_came_first() -> None:
    with Stop().listening() as stop, stop.heeding():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.status == "PREEMPTED"


def test_schedulers_may_send_sigterm_twice() -> None:
    with Stop().listening() as stop, stop.heeding():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.status == "PREEMPTED"


def test_a_terminal_that_closes_may_say_so_twice() -> None:
    with Stop().listening() as stop, stop.heeding():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.status == "INTERRUPTED"


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop().listening() as stop, stop.heeding():
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.status is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_former_handlers_are_back_after_an_error() -> None:
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]

    def work() -> None:
        with Stop().listening():
            assert [signal.getsignal(number) for number in numbers] != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert [signal.getsignal(number) for number in numbers] == before


def test_other_threads_cannot_listen_and_go_on() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Stop().listening() as stop:
            seen.append((signal.getsignal(signal.SIGINT), stop.status))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]

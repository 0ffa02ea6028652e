"""A worker: claims one queued run after the other, and sees each to its end or back into the queue."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import backends
from experiments.command import rerun
from experiments.command.exit import DONE, FAULT, INTERRUPTED, PREEMPTED
from experiments.planning.words import duration
from experiments.tracking import claims
from experiments.tracking.claims import Claim, Watch
from experiments.tracking.dead import mark_dead
from experiments.tracking.journal import JOURNAL
from experiments.tracking.mongod import DatabaseError, Destination
from experiments.tracking.publisher import BEAT_S, replay
from experiments.tracking.scrub import reason
from experiments.tracking.source import InDatabase
from experiments.worker.process import OUTPUT, Attempt
from framework.loop.stop import Stop

T = TypeVar("T")

# Seconds between two looks: at a process, at the queue, and at a database that is away.
LOOK_S, POLL_S, AWAY_S = 0.1, 1.0, 2.0
# A process that was asked to end because its claim is lost has so long for it.
PATIENCE_S = 60.0
# A run whose process was killed so often, while its worker lived, has failed: it may need more memory than there is.
MAX_KILLED = 5


def tell(line: str) -> None:
    """Say something on stdout, at once."""
    print(line, flush=True)


class Worker:
    """One worker.

    Args:
        destination: has the queue.
        root: the folder of runs.
        where: a filter that runs must meet.
        options: the command's: `mongo_db`, `max_runs`, `idle_exit`, `lost_after`.
        stop: ends it when asked.
    """

    def __init__(
        self, destination: Destination, root: Path, where: Mapping[str, Any], options: argparse.Namespace, stop: Stop
    ) -> None:
        self.destination, self.root, self.where, self.options, self.stop = destination, root, where, options, stop
        assert destination.database is not None
        self.database = destination.database
        self.watch = Watch(options.lost_after)
        self.ended, self.failed = 0, 0
        # Infinite while there is something to do.
        self._idle_since = inf
        self._uri = options.mongo_db and _absolute(options.mongo_db)

    def work(self) -> int:
        """Run what waits until there is a reason to end; returns the exit code."""
        tell(f"worker of {self.destination.describe()}: {', '.join(backends.installed())}; Ctrl-C ends it")
        try:
            with self.stop.heeding():
                while self.stop.status is None and not self._is_done():
                    if not self._through(self._turn):
                        time.sleep(POLL_S)
        except KeyboardInterrupt:
            self.stop.status = self.stop.status or "INTERRUPTED"
        tell(f"worker ends: {self.ended} runs ended here{f', {self.failed} FAILED' if self.failed else ''}")
        if self.stop.status is not None:
            return PREEMPTED if self.stop.status == "PREEMPTED" else INTERRUPTED
        return FAULT if self.failed else DONE

    def _is_done(self) -> bool:
        idle = time.monotonic() - self._idle_since
        return bool(self.ended >= self.options.max_runs or idle >= self.options.idle_exit)

    def _through(self, call: Callable[[], T]) -> T | None:
        """Try again until the database answers; None where the worker is to end meanwhile."""
        told = False
        while True:
            try:
                return call()
            except DatabaseError as error:
                self.watch.blink()
                if not told:
                    tell(f"the database doesn't answer ({reason(error)}): trying again")
                told = True
                time.sleep(AWAY_S)
                self.destination.revive()
                if self.stop.status is not None:
                    return None

    def _turn(self) -> bool:
        """Give back what is lost, and run a run; False where none waits."""
        self._recover()
        if not claims.waiting(self.database, self.where):
            self._idle()
            return False
        attempt = Attempt(self.root)
        claim = claims.claim(self.database, self.where, attempt.folder)
        if claim is None:
            attempt.abandon()
            return True
        self._idle_since = inf
        self._run(claim, attempt)
        return True

    def _recover(self) -> None:
        for number in claims.give_back_gone(self.database):
            tell(f"run {number}: its worker on this machine is gone, back in the queue")
        mark_dead(self.database)
        for claim in self.watch.lost(self.database):
            if claim.recover() == "QUEUED":
                host = claim.document["queue"]["attempts"][-1]["host"]
                tell(f"run {claim.number}: its worker on {host} is gone, back in the queue")

    def _idle(self) -> None:
        if self._idle_since == inf:
            self._idle_since = time.monotonic()
            others = sum(1 for _ in claims.claimed(self.database))
            until = self.options.idle_exit
            ends = f", ending after {duration(until)} without" if until < inf else ""
            tell(f"idle: nothing waits for this worker, {others} runs are with others{ends}")

    def _run(self, claim: Claim, attempt: Attempt) -> None:
        begun, number = time.monotonic(), len(claim.earlier) + 1
        again = f", attempt {number}" if number > 1 else ""
        tell(f"run {claim.number}: claimed, {_title(claim.document)}{again}, output in {attempt.folder / OUTPUT}")
        rerun.tell_differences(InDatabase(self.database), claim.document)
        attempt.start(claim, self._uri, self.root)
        try:
            code = self._wait(claim, attempt)
        except KeyboardInterrupt:
            attempt.kill()
            code = INTERRUPTED
        status = self._through(lambda: self._concluded(claim, attempt, code))
        took = duration(time.monotonic() - begun)
        tell(f"run {claim.number}: {status or 'the database is away: another worker gives it back'}, after {took}")
        attempt.close()

    def _wait(self, claim: Claim, attempt: Attempt) -> int:
        """Give heartbeat until the process has ended; returns its exit code."""
        beat, pause, deadline = time.monotonic(), min(BEAT_S, self.options.lost_after / 4), inf
        while (code := attempt.ended(LOOK_S)) is None:
            now = time.monotonic()
            if self.stop.status is not None and attempt.ask():
                tell(f"run {claim.number}: stopping with a checkpoint; a second Ctrl-C ends it at once")
            if now - beat > pause:
                beat = now
                if not self._beat(claim) and attempt.ask():
                    tell(f"run {claim.number}: another worker has it by now, stopping")
                    deadline = now + PATIENCE_S
            if now > deadline:
                attempt.kill()
        return code

    @staticmethod
    def _beat(claim: Claim) -> bool:
        try:
            return claim.beat()
        except DatabaseError:
            return True

    def _concluded(self, claim: Claim, attempt: Attempt, code: int) -> str:
        """Bring the end of a process into the database; says what has become of the run."""
        if (attempt.folder / JOURNAL).is_file():
            replay(attempt.folder, self.database)
        elif result := attempt.result():
            claim.end(**result)
        status = claim.status()
        if status in claims.OPEN:
            status = self._unfinished(claim, attempt, code)
        if status is None:
            return "lost to another worker, whose result counts"
        if status in ("COMPLETED", "FAILED"):
            self.ended += 1
            self.failed += status == "FAILED"
        return status if status != "FAILED" else f"FAILED ({attempt.last_line()})"

    def _unfinished(self, claim: Claim, attempt: Attempt, code: int) -> str | None:
        asked = self.stop.status is not None or code in (PREEMPTED, INTERRUPTED)
        if not asked and code < 0 and (times := claim.killed()) >= MAX_KILLED:
            told = f"its process was killed {times} times, at last by signal {-code}: out of memory?"
            return "FAILED" if claim.end("FAILED", fail_trace=[told]) else claim.status()
        if asked or code < 0:
            return "given back to the queue" if claim.give_back() else claim.status()
        return "FAILED" if claim.end("FAILED", fail_trace=[attempt.last_line()]) else claim.status()


def _title(document: Mapping[str, Any]) -> str:
    """What a run is, in a few words."""
    config = document.get("config") or {}
    data = (config.get("data") or {}).get("name")
    many = document["queue"].get("students")
    words = [f"sweep of {many} students" if many else config.get("teaching"), data, f"seed {config.get('seed')}"]
    return " ".join(str(word) for word in words if word)


def _absolute(uri: str) -> str:
    """An address that holds from another folder as well."""
    return f"@{os.path.abspath(os.path.expanduser(uri[1:]))}" if uri.startswith("@") else uri

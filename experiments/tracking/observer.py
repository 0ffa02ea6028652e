"""Sacred's events, written to the journal: the run becomes a proper Sacred run, and no outage disables the observer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver

from experiments.tracking.files import OUTPUT
from experiments.tracking.recorder import Tracker
from experiments.tracking.scrub import scrub_text
from experiments.tracking.unobserved import Unobserved
from experiments.tracking.values import plain
from framework.files.arrays import digest

INFO_LIMIT = 2**20


class SacredObserver(RunObserver):  # type: ignore[misc, unused-ignore]
    """Hands Sacred's events to a tracker. One observer serves one run.

    Sacred's config, host, experiment (git, sources, dependencies), meta and results are stored as plain values without
    credentials. The whole captured output goes to a file of the run's folder, its tail to the database.

    Args:
        host: what is known of the machine beside what Sacred collects.
        experiment: what is known of the sources, in place of what Sacred has found.
        told: lines that were printed before the run began, the first of its output.

    Attributes:
        begun: whether Sacred has begun the run.
    """

    priority = 30

    def __init__(
        self,
        tracker: Tracker | Unobserved,
        host: Mapping[str, Any] | None = None,
        experiment: Mapping[str, Any] | None = None,
        told: Iterable[str] = (),
    ) -> None:
        self._tracker = tracker
        self.begun = False
        self._host, self._experiment = dict(host or {}), dict(experiment or {})
        self._told = "".join(f"{line}\n" for line in told)
        self._info = "{}"
        self._captured = ""
        self._taken = 0

    def started_event(
        self,
        ex_info: Mapping[str, Any],
        command: str,
        host_info: Mapping[str, Any],
        start_time: datetime,
        config: Mapping[str, Any],
        meta_info: Mapping[str, Any],
        _id: Any,
    ) -> int | str:
        """Write the run's start down; returns Sacred's number, or the uid while no database answers."""
        self.begun = True
        # Sacred lists a repository once for each source file.
        repositories = {str(entry): entry for entry in ex_info.get("repositories", [])}
        self._tracker.record(
            "run",
            at=_seconds(start_time),
            sync=True,
            experiment={**ex_info, "repositories": list(repositories.values()), **self._experiment},
            command=command,
            host={**{name: value for name, value in host_info.items() if value is not None}, **self._host},
            config=config,
            meta=meta_info,
        )
        with contextlib.suppress(OSError):
            self._write(self._told)
        return self._tracker.publish() or self._tracker.uid

    def heartbeat_event(self, info: Mapping[str, Any], captured_out: str, beat_time: datetime, result: Any) -> None:
        """Keep the captured output and `info`; the tracker beats by itself."""
        self._output(captured_out, captured_out.rfind("\n") + 1)
        text = str(plain(info))
        if text != self._info:
            self._info = text
            kept = info if len(text) <= INFO_LIMIT else {"left_out": f"{len(text)} characters"}
            self._tracker.record("info", info=kept)

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        self._ended(stop_time, "COMPLETED", result=result)

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        """Ctrl-C (INTERRUPTED), or a SacredInterrupt with a STATUS of its own (PREEMPTED)."""
        self._ended(interrupt_time, status)

    def failed_event(self, fail_time: datetime, fail_trace: list[str]) -> None:
        self._ended(fail_time, "FAILED", fail_trace=list(fail_trace))

    def resource_event(self, filename: str) -> None:
        self._tracker.record("resource", path=str(filename), md5=digest(Path(filename), "md5"))

    def artifact_event(
        self,
        name: str,
        filename: str,
        metadata: Mapping[str, Any] | None = None,
        content_type: str | None = None,
    ) -> None:
        self._tracker.artifact(Path(filename), name, metadata, content_type)

    def log_metrics(self, metrics_by_name: Mapping[str, Mapping[str, Any]], info: dict[str, Any]) -> None:
        """Scalars that were given to Sacred itself (`_run.log_scalar`)."""
        for name, series in metrics_by_name.items():
            for step, value, time in zip(series["steps"], series["values"], series["timestamps"], strict=True):
                self._tracker.metrics(step, {name: value}, at=_seconds(time))

    def _ended(self, at: datetime, status: str, **rest: Any) -> None:
        self._output(self._captured, len(self._captured))
        self._tracker.ended(status, at=_seconds(at), **rest)

    def _output(self, captured: str, end: int) -> None:
        """Append what is new up to `end`: whole lines, because a credential must not escape in two halves."""
        path = self._tracker.folder / OUTPUT
        self._captured = captured
        if len(captured) < self._taken:  # a filter has shortened what was there
            self._taken = 0
            path.unlink(missing_ok=True)
        if end > self._taken:
            # Sacred drops an observer that raises. A full disk is told by the journal; the next beat tries again.
            with contextlib.suppress(OSError):
                self._write(captured[self._taken : end])
                self._taken = end

    def _write(self, text: str) -> None:
        if text:
            with open(self._tracker.folder / OUTPUT, "a", encoding="utf-8", errors="replace") as file:
                file.write(scrub_text(text))


def _seconds(naive: datetime) -> float:
    """Sacred's naive UTC times as seconds since 1970."""
    return naive.replace(tzinfo=UTC).timestamp()

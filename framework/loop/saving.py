"""Checkpoints written in the background: the loop waits for the copy to the host, a thread does the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from framework.files.checkpoints import Checkpoints
from framework.protocols import Array

# What "the best" may mean: the validation metric, and whether more of it is better.
BEST_BY = {
    "kl": ("validation.student.kl", False),
    "agreement": ("validation.student.agreement@1", True),
    "accuracy": ("validation.student.accuracy", True),
    "loss": ("validation.student.loss", False),
}


@dataclass(frozen=True)
class Best:
    """The best validation of a run so far.

    Attributes:
        metric: its full name.
        larger: whether more is better.
        value: None while nothing was measured.
        step: updates done when it was measured.
    """

    metric: str
    larger: bool
    value: float | None = None
    step: int | None = None

    @classmethod
    def by(cls, name: str, before: Mapping[str, Any] | None = None) -> Best:
        """By a name of `BEST_BY`, starting from the plain values of a former best of the same metric."""
        best = cls(*BEST_BY[name])
        same = before is not None and before.get("metric") == best.metric
        return replace(best, value=before["value"], step=before["step"]) if before and same else best

    def after(self, step: int, values: Mapping[str, float]) -> Best | None:
        """The new best, or None where these metrics are no better; NaN never is."""
        value = values.get(self.metric)
        if value is None or not np.isfinite(value):
            return None
        better = self.value is None or (value > self.value if self.larger else value < self.value)
        return replace(self, value=float(value), step=step) if better else None


class Saver:
    """Writes one checkpoint at a time in a thread; a file that can't be written costs the run only this file.

    Args:
        checkpoints: where to.
        metadata: plain values stored with each.
        best: the best so far; None looks for no best.
        warn: told at once what could not be written, in the thread.

    Attributes:
        written: how many were.
        problems: a line on each that could not be.
        blocked: seconds that the training has waited, the copy to the host included.
    """

    def __init__(
        self, checkpoints: Checkpoints, metadata: Mapping[str, Any], best: Best | None, warn: Callable[[str], None]
    ) -> None:
        self.checkpoints, self.metadata, self.best, self.warn = checkpoints, metadata, best, warn
        self.written, self.blocked = 0, 0.0
        self.problems: list[str] = []
        self._done: int | None = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def save(self, copy: Callable[[], Mapping[str, Array]], step: int, values: Mapping[str, float]) -> None:
        """Start writing a state, after the write before has ended; a step that is written already is left out.

        Args:
            copy: gives the state, in arrays that nobody changes any more.
            step: updates done.
            values: what was measured at this step; it decides on the best.

        Raises:
            Exception: what was wrong with the state before, but no OSError.
        """
        started = time.perf_counter()
        self.wait()
        better = self.best.after(step, values) if self.best is not None else None
        if step != self._done or better:
            # A daemon: a second Ctrl-C doesn't wait for a slow disk, and a write cut short does no harm.
            self._thread = threading.Thread(
                target=self._write, args=(copy(), step, better), daemon=True, name="checkpoint"
            )
            self._thread.start()
        self.blocked += time.perf_counter() - started

    def wait(self) -> None:
        """Wait for the end of the write that is under way; raises as `save` does."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def report(self) -> dict[str, Any]:
        """Plain values for a run's result."""
        best = None if self.best is None or self.best.value is None else asdict(self.best)
        counts = {"written": self.written, "failed": len(self.problems), "blocked_seconds": self.blocked}
        return counts if best is None else counts | {"best": {key: best[key] for key in ("metric", "value", "step")}}

    def _write(self, state: Mapping[str, Array], step: int, better: Best | None) -> None:
        best = better or self.best
        try:
            _refuse_what_is_no_number(state, step)
            metadata = {**self.metadata, "best": asdict(best) if best is not None else None}
            self.checkpoints.save(state, metadata, better is not None)
            self.best, self._done = best, step
            self.written += 1
        except OSError as error:
            self.problems.append(f"no checkpoint at step {step}: {error.strerror or error} ({self.checkpoints.folder})")
            self.warn(f"warning: {self.problems[-1]}; the run continues and tries again at the next one")
        except Exception as error:  # noqa: BLE001 - raised again in the loop's own thread
            self._error = error


def newest(checkpoints: Checkpoints | None) -> Path | None:
    """The newest checkpoint that is there."""
    return next(iter(checkpoints.paths()), None) if checkpoints is not None else None


def _refuse_what_is_no_number(state: Mapping[str, Array], step: int) -> None:
    """A step whose loss was finite may leave parameters that are not; such a state would take a good one's place."""
    for name, array in state.items():
        # numpy calls bfloat16, which it doesn't know, a kind "V".
        if array.dtype.kind in "fV" and not np.isfinite(array).all():
            raise FloatingPointError(f"{name} is no longer finite at step {step}: try a lower optimizer.lr")

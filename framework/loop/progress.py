"""How far a run is: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

# A line each hundredth of the time so far, but not less often than this.
_SHARE, _LONGEST_S = 0.01, 300.0
# What is shown of the metrics, and what it is called.
SHOWN = {"loss": "loss", "validation.student.accuracy": "val acc", "validation.student.kl": "val kl"}


class Progress:
    """Told of each step and of some metrics; this one shows nothing of them."""

    def update(self, step: int) -> None:
        """So many steps are done."""

    def show(self, values: Mapping[str, float]) -> None:
        """Metrics, of which some are shown."""

    def say(self, line: str) -> None:
        """A line of words."""

    def close(self) -> None:
        """Nothing more comes."""


class _Shown(Progress):
    """What bar and lines have in common.

    Args:
        total_steps: where it ends.
        batch_size: examples a step.
        num_examples: examples an epoch.
        done: steps done before.
    """

    def __init__(self, total_steps: int, batch_size: int, num_examples: int, done: int = 0) -> None:
        self.total_steps, self.batch_size, self.num_examples = total_steps, batch_size, num_examples
        self.shown: dict[str, float] = {}
        self.step = done

    def show(self, values: Mapping[str, float]) -> None:
        """Keep the metrics that are worth the room."""
        self.shown |= {SHOWN[name]: value for name, value in values.items() if name in SHOWN}

    def _epoch(self) -> str:
        epochs = self.total_steps * self.batch_size / self.num_examples
        return f"epoch {self.step * self.batch_size / self.num_examples:.0f}/{epochs:.0f}"

    def _metrics(self) -> list[str]:
        return [f"{name} {value:.4g}" for name, value in self.shown.items()]


class Bar(_Shown):
    """A tqdm bar on the terminal itself: who wraps it to keep the output would keep gigabytes of a month's bar."""

    def __init__(self, total_steps: int, batch_size: int, num_examples: int, done: int = 0) -> None:
        from tqdm import tqdm

        super().__init__(total_steps, batch_size, num_examples, done)
        self._bar = tqdm(
            total=total_steps,
            initial=done,
            file=getattr(sys.stderr, "__wrapped__", sys.stderr),
            unit="step",
            dynamic_ncols=True,
            mininterval=0.2,
            bar_format="{percentage:3.0f}% |{bar}| step {n_fmt}/{total_fmt}{postfix} [{elapsed}<{remaining}]",
        )
        self._clock: tuple[float, int] | None = None

    def update(self, step: int) -> None:
        """Move the bar."""
        # The first step is compiled, which says nothing about the speed.
        self._clock = self._clock or (time.monotonic(), step)
        self._bar.update(step - self.step)
        self.step = step

    def show(self, values: Mapping[str, float]) -> None:
        """Put metrics, epoch and images/s behind the bar."""
        super().show(values)
        since, first = self._clock or (time.monotonic(), self.step)
        speed = (self.step - first) * self.batch_size / max(1e-9, time.monotonic() - since)
        self._bar.set_postfix_str(", ".join([self._epoch(), *self._metrics(), f"{speed:.0f} img/s"]), refresh=False)

    def say(self, line: str) -> None:
        """Print it above the bar."""
        self._bar.write(line, file=self._bar.fp)

    def close(self) -> None:
        """Leave the bar where it is."""
        self._bar.close()


class Lines(_Shown):
    """A line every so often, where the output is no terminal.

    Args:
        seconds: between two lines at the beginning; a long run says less and less, down to a line in five minutes.
    """

    def __init__(
        self, total_steps: int, batch_size: int, num_examples: int, done: int = 0, seconds: float = 15.0
    ) -> None:
        super().__init__(total_steps, batch_size, num_examples, done)
        self.seconds = seconds
        self._clock: tuple[float, int] | None = None
        self._last = 0.0

    def update(self, step: int) -> None:
        """Print a line when it is time for one."""
        self.step = step
        now = time.monotonic()
        if self._clock is None:
            # The first step is compiled, which says nothing about the speed.
            self._clock, self._last = (now, step), now
        if now - self._last >= pause(now - self._clock[0], self.seconds) or step == self.total_steps:
            self._last = now
            self.say(self._line(now, *self._clock))

    def say(self, line: str) -> None:
        """Print it."""
        print(line, file=sys.stderr, flush=True)

    def _line(self, now: float, since: float, first: int) -> str:
        rate = (self.step - first) / max(1e-9, now - since)
        left = (self.total_steps - self.step) / max(1e-9, rate)
        parts = [f"step {self.step}/{self.total_steps}", self._epoch(), *self._metrics()]
        return ", ".join([*parts, f"{rate * self.batch_size:.0f} img/s", f"{left:.0f} s left"])


def pause(since: float, least: float = 15.0) -> float:
    """Seconds between two lines: a long run says less and less.

    Args:
        since: seconds since it began.
        least: at the beginning.
    """
    return max(least, min(_LONGEST_S, _SHARE * since))


def make(total_steps: int, batch_size: int, num_examples: int, done: int = 0) -> Progress:
    """A bar on a terminal, else lines; arguments as in `Lines`."""
    kind = Bar if sys.stderr.isatty() else Lines
    return kind(total_steps, batch_size, num_examples, done)

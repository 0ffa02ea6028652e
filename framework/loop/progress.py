"""How far a run is: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(eq=False)
class _Shown(Progress):
    """What bar and lines have in common.

    Attributes:
        total_steps: where it ends.
        batch_size: examples a step.
        num_examples: examples an epoch.
        done: steps done before.
    """

    total_steps: int
    batch_size: int
    num_examples: int
    done: int = 0

    def __post_init__(self) -> None:
        self.shown: dict[str, float] = {}
        self.step = self.done
        self._clock: tuple[float, int] | None = None

    def update(self, step: int) -> None:
        # The first step is compiled, which says nothing about the speed.
        self._clock = self._clock or (time.monotonic(), step)
        self.step = step

    def show(self, values: Mapping[str, float]) -> None:
        """Keep the metrics that are worth the room."""
        self.shown |= {SHOWN[name]: value for name, value in values.items() if name in SHOWN}

    def _speed(self) -> float:
        """Steps in a second."""
        since, first = self._clock or (time.monotonic(), self.step)
        return (self.step - first) / max(1e-9, time.monotonic() - since)

    def _told(self) -> list[str]:
        epoch, last = (step * self.batch_size / self.num_examples for step in (self.step, self.total_steps))
        metrics = [f"{name} {value:.4g}" for name, value in self.shown.items()]
        return [f"epoch {epoch:.0f}/{last:.0f}", *metrics, f"{self._speed() * self.batch_size:.0f} img/s"]


class Bar(_Shown):
    """A tqdm bar on the terminal itself: who wraps it to keep the output would keep gigabytes of a month's bar."""

    def __post_init__(self) -> None:
        from tqdm import tqdm

        super().__post_init__()
        self._bar = tqdm(
            total=self.total_steps,
            initial=self.done,
            file=getattr(sys.stderr, "__wrapped__", sys.stderr),
            unit="step",
            dynamic_ncols=True,
            mininterval=0.2,
            bar_format="{percentage:3.0f}% |{bar}| step {n_fmt}/{total_fmt}{postfix} [{elapsed}<{remaining}]",
        )

    def update(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(step - self.step)
        super().update(step)

    def show(self, values: Mapping[str, float]) -> None:
        """Put metrics, epoch and images/s behind the bar."""
        super().show(values)
        self._bar.set_postfix_str(", ".join(self._told()), refresh=False)

    def say(self, line: str) -> None:
        """Print it above the bar."""
        self._bar.write(line, file=self._bar.fp)

    def close(self) -> None:
        """Leave the bar where it is."""
        self._bar.close()


@dataclass(eq=False)
class Lines(_Shown):
    """A line every so often, where the output is no terminal.

    Attributes:
        seconds: between two lines at the beginning; a long run says less and less, down to a line in five minutes.
    """

    seconds: float = 15.0
    _last: float | None = None

    def update(self, step: int) -> None:
        """Print a line when it is time for one."""
        super().update(step)
        assert self._clock is not None
        now, since = time.monotonic(), self._clock[0]
        if now - (self._last or since) >= pause(now - since, self.seconds) or step == self.total_steps:
            self._last = now
            left = (self.total_steps - step) / max(1e-9, self._speed())
            self.say(", ".join([f"step {step}/{self.total_steps}", *self._told(), f"{left:.0f} s left"]))

    def say(self, line: str) -> None:
        """Print it."""
        print(line, file=sys.stderr, flush=True)


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

"""A run that is followed in the terminal: curves, speed, the time that is left, the last evaluation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from experiments.reports.following import Followed, State
from experiments.tracking.plots import axis_name, unit

if TYPE_CHECKING:
    from rich.console import Console, Group

# Seconds between two looks, and between two lines where the output is no terminal.
LOOK_S = 1.0
LINE_S = 15.0
# The curves that are drawn, as far as there are any.
_DRAWN = ("train.loss", "validation.student.accuracy")
_EVALUATED = ("accuracy", "kl", "agreement@1")


def watch(followed: Followed, sleep: Callable[[float], None] = time.sleep) -> None:
    """Follow a run until it has ended: on a terminal a picture, elsewhere plain lines; `sleep` takes seconds."""
    if sys.stdout.isatty():
        _on_terminal(followed, sleep)
    else:
        _in_lines(followed, sleep)


def _on_terminal(followed: Followed, sleep: Callable[[float], None]) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    state = followed.look()
    # The last picture stays where it is; what ends it ends with the cursor below.
    with Live(picture(state, console), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while state.runs:
            sleep(LOOK_S)
            state = followed.look()
            live.update(picture(state, console), refresh=True)


def _in_lines(followed: Followed, sleep: Callable[[float], None]) -> None:
    state, evaluated, told = followed.look(), -1, -LINE_S
    while state.runs:
        now, last = time.monotonic(), _evaluated_at(state)
        if now - told >= LINE_S or last != evaluated:
            print(line(state), flush=True)
            told, evaluated = now, last
        sleep(LOOK_S)
        state = followed.look()
    print("\n".join([line(state), *ending(state)]), flush=True)


def _evaluated_at(state: State) -> int:
    points = state.curves.get("validation.student.accuracy")
    return int(points.steps[-1]) if points is not None and len(points.steps) else 0


def line(state: State) -> str:
    return ", ".join(filter(None, (f"run {state.name}: {state.status}", *_how_far(state), *_values(state))))


def _how_far(state: State) -> list[str]:
    total, batch = state.total, (state.document.get("config") or {}).get("batch_size")
    told = [f"step {state.step:,}" + (f" of {total:,} ({state.step / total:.0%})" if total else "")]
    if state.runs and state.speed:
        speed = f"{state.speed:.3g} steps/s" if state.speed < 1000 else f"{state.speed:,.0f} steps/s"
        told.append(speed + (f", {state.speed * batch:,.0f} images/s" if batch else ""))
        if total:
            told.append(f"{duration((total - state.step) / state.speed)} left")
    return told


def duration(seconds: float) -> str:
    """In the two largest units.

    Example:
        >>> duration(42.4), duration(3725), duration(90 * 3600)
        ('42 s', '1 h 2 min', '3 d 18 h')
    """
    whole = round(max(0.0, seconds))
    units = [("d", whole // 86400), ("h", whole // 3600 % 24), ("min", whole // 60 % 60), ("s", whole % 60)]
    first = next((place for place, (_, count) in enumerate(units) if count), len(units) - 1)
    return " ".join(f"{count} {name}" for name, count in units[first : first + 2] if count or name == units[first][0])


def _values(state: State) -> list[str]:
    """The loss, and the last evaluation."""
    names = ["train.loss", *(f"validation.student.{name}" for name in _EVALUATED)]
    found = [(name, state.last(name)) for name in [*names, "validation.teacher.accuracy"]]
    return [f"{axis_name(name)} {shown(name, value)}" for name, value in found if value is not None]


def shown(metric: str, value: float) -> str:
    """A value in its unit."""
    return f"{value:.1%}" if unit(metric) == "%" else f"{value:.4g}"


def ending(state: State) -> list[str]:
    """What is said of a run that has ended: the result of its last evaluation, or why there is none."""
    result = state.document.get("result") or {}
    told = []
    for split in ("test", "validation"):
        values = (result.get(split) or {}).get("student") or {}
        names = [(f"{split}.student.{name}", values[name]) for name in _EVALUATED if name in values]
        found = [f"{axis_name(name)} {shown(name, value)}" for name, value in names]
        told += [", ".join(found)] if found else []
    trace = "".join(state.document.get("fail_trace") or ()).strip().splitlines()
    return told or trace[-1:]


def picture(state: State, console: Console) -> Group:
    """All that a terminal shows: a title, curves as wide and high as there is room, the values."""
    from rich.console import Group
    from rich.text import Text

    names = [name for name in _DRAWN if name in state.curves and len(state.curves[name].steps) > 1]
    texts = [", ".join([f"run {state.name}: {state.status}", *_how_far(state)]), ", ".join(_values(state))]
    texts += [] if state.runs else ending(state)
    used = sum(1 + len(text) // max(1, console.width) for text in texts) + 1
    height = (console.height - used) // max(1, len(names))
    drawn = [Text.from_ansi(curve(state, name, console.width, height)) for name in names if height >= 6]
    return Group(Text(texts[0], style="bold"), *drawn, *(Text(text) for text in texts[1:]))


def curve(state: State, name: str, width: int, height: int) -> str:
    import plotext

    points = state.curves[name]
    factor, counted = (100.0, " (%)") if unit(name) == "%" else (1.0, f" ({unit(name)})" if unit(name) else "")
    kept = np.isfinite(points.values)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, height)
    plotext.title(axis_name(name) + counted)
    first, last = int(points.steps[0]), int(points.steps[-1])
    plotext.xticks(sorted({first + (last - first) * part // 4 for part in range(5)}))
    plotext.plot(points.steps[kept].tolist(), (factor * points.values[kept]).tolist(), marker="braille")
    return str(plotext.build()).rstrip("\n")

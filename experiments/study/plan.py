"""What is left of a study: which runs are there, what the grid chose, what is to be trained next."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from experiments.figures.selection import Run, quality
from experiments.study.known import Known
from experiments.study.points import Planned, Request, Settings, short
from experiments.sweep import groups
from framework.spec import DistillSpec


class Plan:
    """A study as it stands.

    Args:
        request: what was asked for.
        known: the runs there are.
        tried: fingerprints of runs that were trained already, whatever came of them: they are not begun again.

    Attributes:
        tuning: the runs of the grid.
        chosen: by the arm's label the settings that are best on validation data, where all of the grid is done.
        counted: the runs that count, of the arms whose settings are known.
    """

    def __init__(self, request: Request, known: Known, tried: frozenset[str] = frozenset()) -> None:
        self.request, self._tried = request, tried

        def sought(planned: Planned) -> Planned:
            return replace(planned, found=known.find(planned.point.spec))

        self.tuning = list(map(sought, request.tuning()))
        self.chosen = dict(self._choose())
        self.counted = list(map(sought, request.counted(self.chosen)))

    def _choose(self) -> Iterator[tuple[str, Settings]]:
        for arm in self.request.tuned():
            items = [item for item in self.tuning if item.arm is arm]
            finished = [item for item in items if item.found.state == "finished"]
            if finished and not any(self._is_left(item) or item.found.state == "running" for item in items):
                best = max(finished, key=lambda item: quality([Run(item.found.document, item.point.spec, 0)]))
                yield arm.label, best.settings

    def _is_left(self, item: Planned) -> bool:
        return item.found.state in ("begun", "missing") and item.point.spec.fingerprint not in self._tried

    @property
    def left(self) -> list[Planned]:
        """What can be trained now: each run once, those of the grid first."""
        return [item for item in self._items if self._is_left(item)]

    @property
    def later(self) -> list[DistillSpec]:
        """Runs that are left and whose settings are not known yet, with the recipe's in their place."""
        request = self.request
        waiting = [arm for arm in request.tuned() if arm.label not in self.chosen]
        found = itertools.product(waiting, request.lengths, request.seeds)
        known = (request.own_length, request.seeds[0])
        return [request.planned(*each, {}).point.spec for each in found if each[1:] != known]

    def of(self, state: str) -> list[Planned]:
        """All runs of a state, each once."""
        return [item for item in self._items if item.found.state == state]

    @property
    def _items(self) -> Iterable[Planned]:
        return {item.point.spec.fingerprint: item for item in [*self.tuning, *self.counted]}.values()

    def lines(self) -> Iterator[str]:
        """The plan for people."""
        request, left, later = self.request, self.left, self.later
        unit = request.unit.removeprefix("total_")
        seeds = ", ".join(map(str, request.seeds))
        lengths = ", ".join(f"{length:,g}" for length in request.lengths)
        yield f"compared    {'; '.join(arm.label for arm in request.arms)}"
        yield f"each        {lengths} {unit}, seeds {seeds}"
        if request.tuned():
            tried = "; ".join(f"{key} {', '.join(map(short, values))}" for key, values in request.grid.items())
            where = f"seed {request.seeds[0]}, {request.own_length:,g} {unit}"
            but = [arm.label for arm in request.arms if not arm.tuned]
            kept = f"; {', '.join(but)} as the recipe has it" if but else ""
            yield f"chosen      by validation from {tried} ({where}){kept}"
        for label, settings in self.chosen.items():
            yield f"            {label}: {', '.join(f'{key}={short(value)}' for key, value in settings.items())}"
        there = [f"{len(self.of(state))} {word}" for state, word in _WORDS.items() if self.of(state)]
        passes = len(groups.grouped([item.point.spec for item in left])) + len(groups.grouped(later))
        yield (
            f"runs        {', '.join(there) or 'none are there'}; {len(left) + len(later)} to train "
            f"in {passes} groups, each on one pass of the teacher"
        )

    def sentence(self) -> str:
        """How settings were chosen, for a figure's caption."""
        request, unit = self.request, self.request.unit.removeprefix("total_")
        if not self.chosen:
            return "Learning rate and decay are the recipe's."
        keys = " x ".join(f"{len(values)} {_PLURALS.get(key, key)}" for key, values in request.grid.items())
        but = [arm.label for arm in request.arms if not arm.tuned]
        others = f", except for {', '.join(but)}, which has the recipe's settings" if but else ""
        return (
            f"Settings were chosen on validation data from one grid for all ({keys}; seed {request.seeds[0]}, "
            f"{request.own_length:,g} {unit}){others}."
        )


_WORDS = {
    "finished": "finished",
    "diverged": "with a loss that became NaN or infinite",
    "running": "being trained by another process",
    "begun": "begun",
}
_PLURALS = {"optimizer.lr": "learning rates", "optimizer.weight_decay": "decays"}

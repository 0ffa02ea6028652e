"""Which runs a figure shows: each seed once, and of several specs for one curve the best on validation data."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.figures.catalog import Figure
from experiments.tracking.fields import flatten
from experiments.tracking.source import Document
from framework.errors import UserError
from framework.spec import DistillSpec

_FIELDS = [field.name for field in dataclasses.fields(DistillSpec)]
COMPLETED = "COMPLETED"


@dataclass(frozen=True)
class Run:
    """A run that may be drawn.

    Attributes:
        document: as lists show it.
        spec: as it was asked for.
        examples: of its training split.
        curve, key: as in `catalog.Figure`.
    """

    document: Document
    spec: DistillSpec
    examples: int
    curve: str = ""
    key: float | None = None

    @property
    def uid(self) -> str:
        """Its stable name."""
        return str(self.document["uid"])

    @property
    def seed(self) -> str:
        """What repeats of one seed have in common."""
        seed, weights = self.spec.seed, self.spec.init_seed
        return str(seed) if weights in (None, seed) else f"{seed}, weights {weights}"

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.spec.duration.steps(self.examples, self.spec.batch_size)

    @property
    def length(self) -> float:
        """Epochs of the whole run, to six digits."""
        return float(f"{self.epoch(self.total_steps):.6g}")

    @property
    def is_finished(self) -> bool:
        """Whether it came to the end of its schedule."""
        return self.document.get("status") == COMPLETED

    def epoch(self, step: int) -> float:
        """Epochs after so many updates."""
        return step * self.spec.batch_size / self.examples

    def result(self, name: str) -> float | None:
        """A metric of its end, by its dotted name."""
        value = flatten(self.document.get("result") or {}).get(name)
        return float(value) if isinstance(value, int | float) else None


def readable(documents: Iterable[Document]) -> tuple[list[Run], list[str]]:
    """The runs that can be drawn, the latest first, each seed of a spec once; and a line on those that can't.

    Args:
        documents: as `Runs.latest` gives them.
    """
    listed = [document for document in documents if document.get("fingerprint") and document.get("config")]
    examples = _examples(listed)
    runs: dict[tuple[str, str], Run] = {}
    unknown = repeats = 0
    for document in listed:
        spec, count = spec_of(document), examples.get(_data(document))
        if spec is None or count is None:
            unknown += 1
            continue
        run = Run(document, spec, count)
        name = str(document["fingerprint"]), run.seed
        # The parts of a run that was interrupted are no repeats.
        repeats += name in runs and run.is_finished and runs[name].is_finished
        if name not in runs or (run.is_finished and not runs[name].is_finished):
            runs[name] = run
    notes = [f"runs left out because what they were trained on is not known: {unknown}"] if unknown else []
    if repeats:
        what = "1 repeat of a spec and seed is" if repeats == 1 else f"{repeats} repeats of a spec and seed are"
        notes.append(f"{what} left out: each counts once")
    return list(runs.values()), notes


def spec_of(document: Document) -> DistillSpec | None:
    """The spec that a run's config asks for; None for one that can't be read any more."""
    config = document.get("config") or {}
    try:
        return DistillSpec.from_dict({name: config[name] for name in _FIELDS if name in config})
    except UserError:
        return None


def _data(document: Document) -> str:
    return str((document.get("environment") or {}).get("data_fingerprint"))


def _examples(documents: Sequence[Document]) -> dict[str, int]:
    """How many training examples the data of these runs have, by their fingerprint: runs of before didn't say it."""
    found: dict[str, int] = {}
    for document in documents:
        count = (document.get("environment") or {}).get("train_examples") or _counted(document)
        if count:
            found.setdefault(_data(document), int(count))
    return found


def _counted(document: Document) -> int | None:
    """From the epochs and the steps of a finished run."""
    config, steps = document.get("config") or {}, (document.get("result") or {}).get("steps")
    epochs = (config.get("duration") or {}).get("total_epochs")
    if document.get("status") != COMPLETED or not steps or not epochs:
        return None
    return round(steps * config["batch_size"] / epochs)


def named(runs: Iterable[Run], figure: Figure) -> list[Run]:
    """The runs that belong to a figure, with the names of their curves."""
    return [
        dataclasses.replace(run, curve=figure.curve(run.spec), key=figure.key(run.spec) if figure.key else None)
        for run in runs
        if figure.shows(run.spec)
    ]


def chosen(runs: Sequence[Run], figure: Figure) -> tuple[list[Run], list[str]]:
    """One spec for each curve and length; what was left out is said.

    Args:
        runs: of one data set, named.
        figure: which.
    """
    runs, notes = (list(runs), []) if figure.lengths else _of_common_length(runs)
    cells: dict[tuple[str, float], list[Run]] = defaultdict(list)
    for run in runs:
        cells[run.curve, run.length].append(run)
    kept: list[Run] = []
    tried: list[int] = []
    for cell in cells.values():
        specs: dict[str, list[Run]] = defaultdict(list)
        for run in cell:
            specs[str(run.document["fingerprint_no_seed"])].append(run)
        tried.append(len(specs))
        common = _common(list(specs.values()))
        best = max(specs.values(), key=lambda each: _score(each, common))
        finished = [run for run in best if run.is_finished]
        kept += finished or best
    if max(tried, default=1) > 1:
        curves = sum(count > 1 for count in tried)
        notes.append(f"{curves} of {len(tried)} curves have up to {max(tried)} specs: the best on validation is drawn")
    return kept, notes


def epochs(length: float) -> str:
    """A length for people, with three digits or as a whole number.

    >>> epochs(48.4848), epochs(4848.48), epochs(1e6)
    ('48.5', '4,848', '1,000,000')
    """
    return f"{length:,.0f}" if length >= 100 else f"{length:.3g}"


def _of_common_length(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Those of the length that most curves have; of several, the longest."""
    curves: dict[float, set[str]] = defaultdict(set)
    for run in runs:
        if run.is_finished or not any(each.is_finished for each in runs):
            curves[run.length].add(run.curve)
    if len(curves) < 2:
        return list(runs), []
    length = max(curves, key=lambda each: (len(curves[each]), each))
    others = ", ".join(epochs(each) for each in sorted(curves) if each != length)
    note = f"runs of {epochs(length)} epochs are drawn; those of {others} are left out (--length N draws them)"
    return [run for run in runs if run.length == length], [note]


def _common(specs: Sequence[Sequence[Run]]) -> set[str]:
    """The seeds with which all specs of a cell were finished."""
    seeds = [{run.seed for run in spec if run.is_finished} for spec in specs]
    return set.intersection(*[each for each in seeds if each] or [set()])


def _score(runs: Sequence[Run], seeds: set[str]) -> tuple[bool, tuple[float, float]]:
    """Larger for a better spec, over the seeds that all specs have; one that is finished goes first."""
    counted = [run for run in runs if run.is_finished and (run.seed in seeds or not seeds)]
    return bool(counted), quality(counted)


def quality(runs: Sequence[Run]) -> tuple[float, float]:
    """Larger for better runs: the accuracy on validation data, then the KL (the loss without a teacher) there."""
    accuracy = _mean(run.result("validation.student.accuracy") for run in runs)
    loss = _mean(run.result(f"validation.student.{'kl' if run.spec.teachers else 'loss'}") for run in runs)
    return -1.0 if accuracy is None else accuracy, float("-inf") if loss is None else -loss


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def by_data(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each data set, by its name; the one with the most runs first."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.spec.data.name].append(run)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))

"""What a recipe will do, and what it lacks here, before it starts: `python -m experiments.run plan with pet_fast`.

Nothing is downloaded and no image is decoded. `--timed-steps 0` leaves the timing out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred.commandline_options import cli_option

from backends.base import Backend, Device
from experiments import config as configs
from experiments.distillation import fitting, outputs
from experiments.distillation.checks import check_functions
from experiments.distillation.options import RunOptions
from experiments.planning import estimates, missing
from experiments.planning.spread import Spread
from experiments.tracking.folders import default_root
from framework.data.counts import Counts, count
from framework.errors import UserError
from framework.spec import DistillSpec, ModelSpec

if TYPE_CHECKING:
    from sacred import Experiment

    from framework.models.cost import Cost

DEFAULT_STEPS = 3
_FLAG = "timed_steps"


@cli_option("-T", "--timed-steps")
def timed_steps(args: str, run: Any) -> None:
    """How many steps the command plan times; 0 for none (default: 3)."""
    if not args.isdecimal():
        raise UserError(f"--timed-steps {args}: expected a whole number, 0 or more")
    run.info[_FLAG] = int(args)


def add_command(experiment: Experiment) -> None:
    """Give a Sacred experiment the command `plan`."""

    @experiment.command(unobserved=True)
    def plan(_config: Mapping[str, Any], _run: Any) -> None:
        """Say what the run would do, and what is missing here."""
        spec, options = configs.spec_and_options(_config)
        print("\n".join(lines(spec, options, default_root(), _run.info.get(_FLAG, DEFAULT_STEPS))))


@dataclass(frozen=True)
class _Model:
    """A student or teacher as it is to be built: its spec, its logits, the size of its views, and what it costs."""

    who: str
    spec: ModelSpec
    num_classes: int
    size: int
    cost: Cost

    def describe(self) -> str:
        cost, options = self.cost, ", ".join(f"{key}={value}" for key, value in self.spec.options.items())
        named = f"{self.spec.name}({options})"
        arithmetic = f"{_scaled(2 * cost.macs)}FLOP" if cost.macs else "arithmetic unknown"
        return f"{named}, {cost.parameters:,} parameters, {arithmetic} an image of {self.size} px"


def lines(spec: DistillSpec, options: RunOptions, root: Path, steps: int) -> list[str]:
    """The plan of a run, for people.

    Args:
        spec: the distillation.
        options: how it is run.
        root: where runs and caches go.
        steps: how many are timed; 0 for none.

    Raises:
        UserError: anything that the run itself would refuse before it looks at the data, or data of an unknown size.
    """
    spread_over, options = options.devices, replace(options, devices=None)
    backend, device, lacking = missing.backend_of(spec, options)
    check_functions(spec)
    counts = count(spec.data, root / "cache")
    fitting.check(spec, counts.num_classes, counts.classes)
    student, *others = models = _models(spec, counts)
    costs = student.cost, [teacher.cost for teacher in others]
    total_steps = spec.duration.steps(counts.train, spec.batch_size)
    room = estimates.checkpoint(spec, student.cost) * (options.keep_checkpoints + 1)
    a_step = estimates.flops(spec, *costs) * spec.batch_size
    work = a_step * total_steps + estimates.target_flops(spec, counts.train, costs[1])
    lacking += missing.things(spec, counts, root, room, work, device)
    seconds = _seconds(spec, options, models, counts, (backend, device), steps)
    rows = [
        ("data", _data(spec, counts)),
        ("length", _length(spec, counts, total_steps)),
        *((model.who, model.describe()) for model in models),
        (
            "work",
            f"{_scaled(a_step)}FLOP a step, {_scaled(work)}FLOP in all (a backward pass as two forward)",
        ),
        ("memory", _memory(spec, *costs)),
        ("checkpoint", f"{_scaled(estimates.checkpoint(spec, student.cost))}B, {options.keep_checkpoints} are kept"),
        ("time", _time(spec, models, (backend, device), seconds, total_steps)),
        *_spread(spec, spread_over, student.cost, seconds, total_steps),
        *(("missing here" if not number else "", line) for number, line in enumerate(lacking or ["nothing"])),
    ]
    return [f"{name:14}{text}" for name, text in rows]


def _models(spec: DistillSpec, counts: Counts) -> list[_Model]:
    from framework.models import cost

    def model(who: str, built: ModelSpec, num_classes: int, size: int) -> _Model:
        outline = cost.outline(built.name, built.options, num_classes, size)
        return _Model(who, built, num_classes, size, cost.of(outline))

    found = [outputs.to_be_built(teacher, counts.num_classes) for teacher in spec.teachers]
    num_classes = counts.num_classes or (found[0][1] if found else None)
    if num_classes is None:
        raise UserError("data without labels and without a teacher: nothing says how many classes there are")
    taught = [
        model("teacher", each, logits, size) for (each, logits), size in zip(found, spec.teacher_sizes, strict=True)
    ]
    return [model("student", spec.student, num_classes, spec.views.size), *taught]


def _data(spec: DistillSpec, counts: Counts) -> str:
    splits = {"training": counts.train, "validation": counts.validation, "test": counts.test}
    numbers = ", ".join(f"{number:,} {role}" for role, number in splits.items() if number)
    classes = f"{counts.num_classes} classes" if counts.num_classes else "no labels"
    return f"{spec.data.name}: {numbers} examples, {classes} ({counts.known})"


def _length(spec: DistillSpec, counts: Counts, total_steps: int) -> str:
    examples = total_steps * spec.batch_size
    warmup = spec.schedule.warmup_steps
    return (
        f"{total_steps:,} steps of {spec.batch_size} = {examples / counts.train:,.0f} epochs ({examples:,} examples); "
        f"warm-up {warmup:,} steps ({warmup * spec.batch_size / counts.train:,.1f} epochs), then {spec.schedule.name}"
    )


def _memory(spec: DistillSpec, student: Cost, others: Sequence[Cost]) -> str:
    found = estimates.memory(spec, student, others)
    return (
        f"about {_scaled(found.total)}B on one device: student with gradients and moments {_scaled(found.student)}B, "
        f"teachers {_scaled(found.teachers)}B, activations {_scaled(found.activations)}B (the inputs of the student's "
        f"layers with parameters, a teacher's widest layer), views {_scaled(found.views)}B, without the libraries' "
        "workspaces"
    )


def _seconds(
    spec: DistillSpec,
    options: RunOptions,
    models: Sequence[_Model],
    counts: Counts,
    place: tuple[Backend, Device],
    steps: int,
) -> tuple[float, float] | str:
    """Seconds of the first step and of a later one; or why they aren't known."""
    if steps == 0:
        return "not timed"
    size, needed = _timed_batch(spec, models, place[1])
    if _is_too_large(needed, place[1]):
        free = estimates.available_memory() or 0
        return f"not timed: {size} examples need about {_scaled(2 * needed)}B, {_scaled(free)}B are free"
    return _measured(spec, options, models, counts, place, steps)


def _time(
    spec: DistillSpec,
    models: Sequence[_Model],
    place: tuple[Backend, Device],
    seconds: tuple[float, float] | str,
    total_steps: int,
) -> str:
    where = f"{place[0].name}, {place[1]}"
    if isinstance(seconds, str):
        return f"{seconds} ({where})"
    first, scaled = seconds
    size, _ = _timed_batch(spec, models, place[1])
    part = f" (timed on {size} of them)" if size < spec.batch_size else ""
    return (
        f"about {duration(first + scaled * total_steps)}: {scaled:.3g} s a step of {spec.batch_size}{part}, "
        f"{first:.1f} s for the first; without decoding and evaluations ({where})"
    )


def _spread(
    spec: DistillSpec, devices: int | str | None, student: Cost, seconds: tuple[float, float] | str, total_steps: int
) -> list[tuple[str, str]]:
    """What `devices=N` makes of it, whether there are so many here or not."""
    if not isinstance(devices, int) or isinstance(seconds, str):
        return []
    spread = Spread(devices, spec.batch_size, student.parameters, seconds[1], total_steps)
    return [("spread", spread.describe())]


def _timed_batch(spec: DistillSpec, models: Sequence[_Model], device: Device) -> tuple[int, int]:
    """How many examples are timed, and the bytes that they need."""
    costs = models[0].cost, [teacher.cost for teacher in models[1:]]
    size = estimates.timed_batch(spec, *costs, device)
    return size, estimates.memory(replace(spec, batch_size=size), *costs).total


def _is_too_large(needed: int, device: Device) -> bool:
    free = estimates.available_memory()
    return device.kind == "cpu" and free is not None and 2 * needed > free


def _measured(
    spec: DistillSpec,
    options: RunOptions,
    models: Sequence[_Model],
    counts: Counts,
    place: tuple[Backend, Device],
    steps: int,
) -> tuple[float, float]:
    """Seconds of the first step, and of a later one with the whole batch."""
    from framework.models import catalog

    size, _ = _timed_batch(spec, models, place[1])
    student, *others = (catalog.build(m.spec.name, m.spec.options, m.num_classes, m.size, None) for m in models)
    first, each = estimates.seconds_per_step(
        replace(spec, batch_size=size),
        (student, others),
        estimates.RandomSource(counts.train, counts.num_classes or models[0].num_classes, counts.side),
        place,
        options.compile,
        steps,
    )
    return first, each * spec.batch_size / size


def step_seconds(
    spec: DistillSpec, options: RunOptions, root: Path, steps: int = DEFAULT_STEPS
) -> tuple[float, float] | None:
    """Seconds of the first step and of a later one, timed on noise; None where a step doesn't fit in memory.

    Args and errors are those of `lines`.
    """
    backend, device, _ = missing.backend_of(spec, options)
    counts = count(spec.data, root / "cache")
    models = _models(spec, counts)
    if _is_too_large(_timed_batch(spec, models, device)[1], device):
        return None
    return _measured(spec, options, models, counts, (backend, device), steps)


def arithmetic(spec: DistillSpec, counts: Counts) -> tuple[int, int]:
    """Multiply-adds of one example in one step: of the student, its backward pass included, and of its teachers.

    The backend must be loaded. Errors are those of `lines`.
    """
    student, *others = _models(spec, counts)
    return 3 * student.cost.macs, 0 if spec.scheme.averaged else sum(each.cost.macs for each in others)


def _scaled(number: float) -> str:
    """`2.67 G` for 2.67e9: the unit follows.

    >>> _scaled(23_576_165), _scaled(12)
    ('23.6 M', '12 ')
    """
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {prefix}"
    return f"{number:.3g} "


def duration(seconds: float) -> str:
    """In a unit of which there are some.

    >>> duration(90), duration(200_000)
    ('90 s', '56 h')
    """
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= (3 if unit == "days" else 2) * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

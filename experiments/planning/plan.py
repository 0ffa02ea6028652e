"""What a recipe will do, and what it lacks here, before it starts: `python -m experiments.run plan with pet_fast`.

Nothing is downloaded and no image is decoded. `--timed-steps 0` leaves the timing out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred.commandline_options import cli_option

from experiments import config as configs
from experiments.distillation.checks import check_functions, check_teachers
from experiments.distillation.options import RunOptions
from experiments.planning import estimates, missing
from experiments.planning.spread import Spread
from experiments.planning.timing import Timing, arithmetic, planned
from experiments.planning.words import duration, scaled
from experiments.tracking.folders import default_root
from framework.data.counts import Counts, count
from framework.data.presence import named_classes
from framework.errors import UserError
from framework.spec import DistillSpec

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
    check_teachers(spec, counts.num_classes, counts.classes)
    models = planned(spec, counts)
    timing = Timing(spec, options, models, counts, backend, device)
    costs = timing.costs
    total_steps = spec.duration.steps(counts.train, spec.batch_size)
    room = estimates.checkpoint(spec, costs[0]) * (options.keep_checkpoints + 1)
    a_step = estimates.flops(spec, *costs) * spec.batch_size
    work = a_step * total_steps + estimates.target_flops(spec, counts.train, costs[1])
    lacking += missing.things(spec, counts, root, room, work, device)
    seconds = _seconds(timing, steps)
    rows = [
        ("data", _data(spec, counts)),
        *(("", note) for note in counts.notes),
        ("length", _length(spec, counts, total_steps)),
        *((model.who, model.describe()) for model in models),
        ("work", f"{scaled(a_step)}FLOP a step, {scaled(work)}FLOP in all (a backward pass as two forward)"),
        ("memory", _memory(spec, *costs)),
        ("checkpoint", f"{scaled(estimates.checkpoint(spec, costs[0]))}B, {options.keep_checkpoints} are kept"),
        ("time", _time(timing, seconds, total_steps)),
        *_spread(spec, spread_over, costs[0], seconds, total_steps),
        *(("missing here" if not number else "", line) for number, line in enumerate(lacking or ["nothing"])),
    ]
    return [f"{name:14}{text}" for name, text in rows]


def _data(spec: DistillSpec, counts: Counts) -> str:
    splits = {"training": counts.train, "validation": counts.validation, "test": counts.test}
    numbers = ", ".join(f"{number:,} {role}" for role, number in splits.items() if number)
    numbered = f"{counts.num_classes} classes" if counts.num_classes else "no labels"
    classes = named_classes(counts.classes) if counts.classes else numbered
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
        f"about {scaled(found.total)}B on one device: student with gradients and moments {scaled(found.student)}B, "
        f"teachers {scaled(found.teachers)}B, activations {scaled(found.activations)}B (the inputs of the student's "
        f"layers with parameters, a teacher's widest layer), views {scaled(found.views)}B, without the libraries' "
        "workspaces"
    )


def _seconds(timing: Timing, steps: int) -> tuple[float, float] | str:
    """Seconds of the first step and of a later one; or why they aren't known."""
    if steps == 0:
        return "not timed"
    why = timing.too_large()
    return f"not timed: {why}" if why else timing.seconds(steps)


def _time(timing: Timing, seconds: tuple[float, float] | str, total_steps: int) -> str:
    where, batch_size = f"{timing.backend.name}, {timing.device}", timing.spec.batch_size
    if isinstance(seconds, str):
        return f"{seconds} ({where})"
    first, each = seconds
    student, teacher, evaluated = arithmetic(timing.spec, timing.counts, timing.models)
    between = each / max(1, (student + teacher) * batch_size) * evaluated
    part = f" (timed on {timing.size} of them)" if timing.size < batch_size else ""
    return (
        f"about {duration(first + each * total_steps + between)}: {each:.3g} s a step of {batch_size}{part}, "
        f"{first:.1f} s for the first, evaluations about {duration(between)}; without decoding ({where})"
    )


def _spread(
    spec: DistillSpec, devices: int | str | None, student: Cost, seconds: tuple[float, float] | str, total_steps: int
) -> list[tuple[str, str]]:
    """What `devices=N` makes of it, whether there are so many here or not."""
    if not isinstance(devices, int) or isinstance(seconds, str):
        return []
    spread = Spread(devices, spec.batch_size, student.parameters, seconds[1], total_steps)
    return [("spread", spread.describe())]

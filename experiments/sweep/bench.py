"""What a sweep saves: eight students on one teacher's pass against eight runs of their own, in one process.

    python -m experiments.sweep.bench --backend torch

The teacher's forward pass should cost four times a student's whole step, as R152x2 to R50x1 (90 to 25 GFLOP); what it
costs is printed, and `--teacher` takes another one. Rounds of both kinds alternate; the loops are the real ones, on
noise, with their logging.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import backends
from backends.base import Backend, Device, Settings
from experiments.bench.steps import timed
from experiments.planning.estimates import RandomSource
from experiments.tracking.unobserved import NoRecorder
from framework.data.loader import Loader
from framework.data.source import Splits
from framework.loop.cadence import Cadence
from framework.loop.evaluator import Evaluator, evaluation_batches
from framework.loop.fit import Loop
from framework.loop.stop import Stop
from framework.loop.together import Shared, together
from framework.protocols import Batch, Seen, Trainer
from framework.spec import DistillSpec

SIZE, CLASSES, EXAMPLES, TOTAL = 64, 10, 512, 100_000
SPEC: Mapping[str, Any] = {
    "student": {"name": "bit", "options": {"depth": [1, 1, 1, 1], "width": 0.5}},
    "views": {"size": SIZE},
    "schedule": {"name": "constant"},
    "duration": {"total_steps": TOTAL},
    "batch_size": 8,
    "evaluation": {"num_times": 0, "train_subset": 0},
}


class Bench:
    """Trainers of `count` students that differ in their learning rate and initial weights."""

    def __init__(self, backend: Backend, device: Device, count: int, teacher: tuple[int, float]) -> None:
        # It imports Keras, which needs the backend to be loaded.
        from framework.models import catalog

        self.clock = time.process_time if device.kind == "cpu" else time.perf_counter
        common = {**SPEC, "teachers": [{"name": "bit", "options": {"depth": teacher[0], "width": teacher[1]}}]}
        base = DistillSpec.from_dict(common)
        source: Any = RandomSource(EXAMPLES, CLASSES, SIZE)
        splits = Splits(source, None, None, None, "noise", "noise")
        self.loader = Loader(base, source, TOTAL)
        taught = catalog.build(base.teachers[0].name, base.teachers[0].options, CLASSES, SIZE, 0)
        self.students: list[tuple[Trainer, Evaluator]] = []
        for number in range(count):
            spec = DistillSpec.from_dict({**common, "optimizer": {"lr": 1e-3 * (1 + number)}, "init_seed": number})
            student = catalog.build(spec.student.name, spec.student.options, CLASSES, SIZE, number)
            trainer = backend.compile(spec, student, [taught], total_steps=TOTAL, device=device)
            self.students.append((trainer, Evaluator(spec, evaluation_batches(spec, splits), trainer)))

    def alone(self, steps: int) -> None:
        """One run after another, so many steps each."""
        for trainer, evaluator in self.students:
            _loop(trainer, evaluator, steps, self.loader.batches).run()

    def together(self, steps: int) -> None:
        """All of them on one teacher's pass."""
        batches = Shared(self.loader, self.students[0][0]).upto(TOTAL)
        turns = {trainer: (trainer, _loop(trainer, each, steps, batches).turns()) for trainer, each in self.students}
        together(turns, Stop(), lambda *_: None)

    def parts(self, steps: int) -> tuple[float, float]:
        """Seconds of a teacher's pass, views included, and of a student's step, in the middle; CPU-seconds on a CPU."""
        trainer, _ = self.students[0]
        sees, learns = [], []
        for step in range(steps):
            batch, begun = self.loader.batch(step), self.clock()
            seen = trainer.see(batch)
            # One number of what the teacher said is waited for.
            float(seen[0]["teacher0"][0, 0])
            middle = self.clock()
            float(trainer.step(seen)["loss"])
            sees.append(middle - begun)
            learns.append(self.clock() - middle)
        return statistics.median(sees), statistics.median(learns)


def _loop(trainer: Trainer, evaluator: Evaluator, steps: int, batches: Callable[[int], Iterator[Batch | Seen]]) -> Loop:
    cadence = Cadence(trainer.steps_done + steps, log_every=steps, num_evaluations=0)
    return Loop(trainer, lambda start: islice(batches(start), steps), evaluator, NoRecorder(), cadence)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both kinds in turns; the first round, which compiles, does not count.

    Returns:
        Medians over the rounds, in seconds and in the process's CPU-seconds (which others on the machine disturb less):
        a step of all students, its ratio to runs of their own with the least and the most; the teacher's pass in
        student's steps, and the ratio that nothing could go below with it.
    """
    backend = backends.load(backends.choose(options.backend))
    device = backend.configure(Settings(options.device, 1 if options.device == "cpu" else None, "float32"))
    count, bench = options.students, Bench(backend, device, options.students, options.teacher)
    pairs = [[timed(kind, options.steps) for kind in (bench.alone, bench.together)] for _ in range(options.rounds + 1)]
    see, learn = bench.parts(2 * options.rounds)
    result = {"backend": backend.name, "device": str(device), "students": count, "teacher_in_steps": see / learn}
    result["floor"] = (see + count * learn) / (count * (see + learn))
    for place, clock in enumerate(("wall", "cpu")):
        alone, together_ = ([times[place] for times in kind] for kind in zip(*pairs[1:], strict=True))
        ratios = [one / other for one, other in zip(together_, alone, strict=True)]
        middle = {"alone": statistics.median(alone), "together": statistics.median(together_)}
        result[clock] = middle | {"ratio": statistics.median(ratios), "ratios": [min(ratios), max(ratios)]}
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", help="jax, torch or tensorflow (the first installed)")
    parser.add_argument("--device", default="cpu", help="cpu (default), gpu, ...")
    parser.add_argument("--students", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="of each student in one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--teacher", default=(101, 1.0), type=bit, metavar="DEPTHxWIDTH", help="BiT's (101x1)")
    print(json.dumps(measure(parser.parse_args(arguments))))


def bit(text: str) -> tuple[int, float]:
    """`"50x2"` as a depth and a width factor."""
    depth, _, width = text.partition("x")
    return int(depth), float(width)


if __name__ == "__main__":
    main()

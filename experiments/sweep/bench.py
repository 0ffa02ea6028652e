"""What a sweep saves: eight students on one teacher's pass against eight runs of their own, in one process.

    python -m experiments.sweep.bench --backend torch

The teacher's forward pass should cost four times a student's whole step, as R152x2 to R50x1 (90 to 25 GFLOP); what it
costs is printed, and `--teacher` takes another one. Rounds of both kinds alternate; the loops are the real ones, on
noise, with their logging. Other programs call `measure`.
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
# Seconds, and CPU-seconds of the process.
Times = tuple[float, float]


class Bench:
    """Trainers of `count` students that differ in their learning rate and initial weights."""

    def __init__(self, backend: Backend, device: Device, count: int, teacher: tuple[int, float]) -> None:
        # It imports Keras, which needs the backend to be loaded.
        from framework.models import catalog

        self.clock = time.process_time if device.kind == "cpu" else time.perf_counter
        common = {**SPEC, "teachers": [{"name": "bit", "options": {"depth": teacher[0], "width": teacher[1]}}]}
        base = DistillSpec.from_dict(common)
        source: Any = RandomSource(EXAMPLES, CLASSES, SIZE)
        self.splits = Splits(source, None, None, None, "noise", "noise")
        self.loader = Loader(base, source, TOTAL)
        build = [(each.name, each.options, CLASSES, SIZE) for each in (base.student, *base.teachers)]
        self.teacher = catalog.build(*build[1], 0)
        self.trainers: list[Trainer] = []
        self.specs: list[DistillSpec] = []
        for number in range(count):
            spec = DistillSpec.from_dict({**common, "optimizer": {"lr": 1e-3 * (1 + number)}, "init_seed": number})
            student = catalog.build(*build[0], number)
            trainer = backend.compile(spec, student, [self.teacher], total_steps=TOTAL, device=device)
            self.specs.append(spec)
            self.trainers.append(trainer)

    def alone(self, steps: int) -> Times:
        """What one run after another takes for so many steps each."""
        return timed(lambda: [self._loop(place, steps, self.loader.batches).run() for place in self._places])

    def together(self, steps: int) -> Times:
        """What all of them take on one teacher's pass."""
        shared = Shared(self.loader, self.trainers[0])
        loops = [self._loop(place, steps, shared.upto(TOTAL)) for place in self._places]
        turns = {place: (self.trainers[place], loops[place].turns()) for place in self._places}
        return timed(lambda: together(turns, Stop(), lambda *_: None))

    def parts(self, steps: int) -> tuple[float, float]:
        """Seconds of a teacher's pass, views included, and of a student's step, in the middle; CPU-seconds on a CPU."""
        trainer = self.trainers[0]
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

    @property
    def _places(self) -> range:
        return range(len(self.trainers))

    def _loop(self, place: int, steps: int, batches: Callable[[int], Iterator[Batch | Seen]]) -> Loop:
        trainer = self.trainers[place]
        evaluator = Evaluator(self.specs[place], evaluation_batches(self.specs[place], self.splits), trainer)
        cadence = Cadence(trainer.steps_done + steps, log_every=steps, num_evaluations=0)
        return Loop(trainer, lambda start: islice(batches(start), steps), evaluator, NoRecorder(), cadence)


def timed(work: Callable[[], Any]) -> Times:
    """How long a piece of work takes."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


def measure(
    backend_name: str | None, device_name: str, students: int, steps: int, rounds: int, teacher: tuple[int, float]
) -> dict[str, Any]:
    """Both kinds in turns; the first round, which compiles, does not count.

    Returns:
        Medians over the rounds, in seconds and in the process's CPU-seconds (which others on the machine disturb less):
        a step of all students, its ratio to runs of their own with the least and the most; the teacher's pass in
        student's steps, and the ratio that nothing could go below with it.
    """
    backend = backends.load(backends.choose(backend_name))
    device = backend.configure(Settings(device_name, 1 if device_name == "cpu" else None, "float32"))
    bench = Bench(backend, device, students, teacher)
    pairs = [(bench.alone(steps), bench.together(steps)) for _ in range(rounds + 1)][1:]
    see, learn = bench.parts(2 * rounds)
    result = {"backend": backend.name, "device": str(device), "students": students, "teacher_in_steps": see / learn}
    result["floor"] = (see + students * learn) / (students * (see + learn))
    for place, clock in enumerate(("wall", "cpu")):
        alone, together_ = ([times[place] / steps for times in kind] for kind in zip(*pairs, strict=True))
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
    of = parser.parse_args(arguments)
    print(json.dumps(measure(of.backend, of.device, of.students, of.steps, of.rounds, of.teacher)))


def bit(text: str) -> tuple[int, float]:
    """`"50x2"` as a depth and a width factor."""
    depth, _, width = text.partition("x")
    return int(depth), float(width)


if __name__ == "__main__":
    main()

"""The ways of doing the same step that are timed against each other, on the backend of this process.

Each starts from the same weights and takes the same views; `run(steps)` does some more of its steps and waits for the
last one.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Backend, Device
from benchmarks.base import UNITS, Net, Step, Work
from experiments.bench.sizes import Size
from experiments.parity.measure import models, value_of
from experiments.tracking.recorder import JournalRecorder
from framework.data.loader import Loader
from framework.data.source import Splits
from framework.loop.cadence import Cadence
from framework.loop.evaluator import Evaluator, evaluation_batches
from framework.loop.fit import Loop
from framework.protocols import Array, Batch, Trainer
from framework.spec import DistillSpec, LossSpec, ModelSpec, schedules

# A large net's weights take minutes: they are drawn once for all variants.
drawn = cache(value_of)
# Batches that are made before the timing where the loader isn't part of what is timed.
PREPARED = 8


@dataclass(frozen=True)
class Bench:
    """A size on a backend.

    Attributes:
        size: the work.
        backend, device: where it runs.
        jit: as in `Backend.compile`.
    """

    size: Size
    backend: Backend
    device: Device
    jit: bool | None = None

    @property
    def spec(self) -> DistillSpec:
        """The distillation."""
        return self.size.spec

    def loader(self, spec: DistillSpec | None = None) -> Loader:
        """The batches of the work."""
        return Loader(spec or self.spec, self.size.source, self.spec.duration.total_steps or 1)

    def flops(self, taught: bool) -> int:
        """Floating-point operations of a step, with or without a teacher: by the multiply-adds of its layers."""
        from framework.models.cost import of, outline

        size = self.spec.views.size
        nets = [self.spec.student, *self.spec.teachers]
        student, teacher = (of(outline(net.name, net.options, 10, size)).macs for net in nets)
        return 2 * self.spec.batch_size * (3 * student + taught * teacher)

    def trainer(self, spec: DistillSpec | None = None) -> Trainer:
        """Our trainer, from weights that every other variant starts from as well."""
        spec = spec or self.spec
        student, *teachers = models(spec, 10, drawn)
        total = self.spec.duration.total_steps or 1
        return self.backend.compile(spec, student, teachers, total_steps=total, device=self.device, jit=self.jit)


Run = Callable[[int], Any]


def over(do: Callable[[Any], Any], inputs: Callable[[Batch], Any], loader: Loader) -> Run:
    """Steps alone, over inputs that are there already; each gives its loss."""
    given = cycle([inputs(loader.batch(step)) for step in range(PREPARED)])

    def run(steps: int) -> float:
        for each in islice(given, steps):
            loss = do(each)
        return float(loss)

    return run


def bare(trainer: Trainer, loader: Loader) -> Run:
    """Our steps alone."""
    return over(lambda batch: trainer.step(batch)["loss"], lambda batch: batch, loader)


def whole(bench: Bench, log_every: int = 8) -> Run:
    """(a) The trainer in its own loop, with its loader, journal and metrics; nothing is evaluated."""
    trainer, loader = bench.trainer(), bench.loader()
    splits = Splits(bench.size.source, None, None, bench.size.source.classes, "noise", "noise")
    evaluator = Evaluator(bench.spec, evaluation_batches(bench.spec, splits), trainer)
    recorder = JournalRecorder(Path(tempfile.mkdtemp(prefix="bench-")))

    def run(steps: int) -> dict[str, float]:
        waited: list[float] = []

        def batches(start: int) -> Iterator[Batch]:
            return timed(loader.batches(start, start + steps), waited)

        # As many logged losses as a run of the recipe's length has.
        cadence = Cadence(trainer.steps_done + steps, log_every=log_every)
        loop = Loop(trainer, batches, evaluator, recorder, cadence, together=trainer.together)
        return {"seconds": loop.run().well().result["seconds"], "waited": sum(waited[1:])}

    return run


def timed(items: Iterator[Any], waited: list[float]) -> Iterator[Any]:
    """The items, and how long each of them was waited for, in seconds."""
    begun = time.perf_counter()
    for item in items:
        waited.append(time.perf_counter() - begun)
        yield item
        begun = time.perf_counter()


def step(bench: Bench) -> Run:
    """(b) The bare step of our trainer."""
    return bare(bench.trainer(), bench.loader())


def native(bench: Bench) -> Run:
    """(c) What an expert would write by hand in the backend's library alone: `benchmarks/`."""
    return over(native_step(bench), native_inputs, bench.loader())


def native_step(bench: Bench) -> Step:
    """The hand-written step, from the weights that our trainer starts from."""
    make = importlib.import_module(f"benchmarks.{bench.backend.name}").make
    return make(work_of(bench.spec), *weights(bench.spec), bench.device.handle)


def timm(bench: Bench, compiles: bool = False) -> Run:
    """(f) The same step with timm's nets, eager under autocast as people use them, or each bottleneck compiled."""
    make = importlib.import_module(f"benchmarks.{bench.backend.name}_timm").make
    return over(make(work_of(bench.spec), {}, {}, bench.device.handle, compiles), native_inputs, bench.loader())


def lacking(name: str, bench: Bench) -> str:
    """Why a variant can't be measured here, or an empty text."""
    if not name.startswith("timm"):
        return ""
    if bench.spec.student.name != "bit" or not importlib.util.find_spec(f"benchmarks.{bench.backend.name}_timm"):
        return "timm has BiT nets for PyTorch alone"
    return "" if importlib.util.find_spec("timm") else "timm is not installed: pip install timm"


def native_inputs(batch: Batch) -> dict[str, Array]:
    """A batch as `benchmarks.base.Make` takes it."""
    if batch.views is not None:
        return {"views": batch.views[0], "mix": np.asarray(batch.mix, np.float32)}
    assert batch.draws is not None
    student = batch.draws.student
    return {
        "images": np.asarray(batch.images),
        "boxes": student.boxes,
        "flips": student.flips,
        "mix": np.asarray(batch.draws.mix, np.float32),
    }


def weights(spec: DistillSpec) -> list[dict[str, Array]]:
    """Student's and teacher's initial parameters by name, copied."""
    import keras

    from framework.models.initial import parameters

    return [
        {name: np.array(keras.ops.convert_to_numpy(value)) for name, value in parameters(model).items()}
        for model in models(spec, 10, drawn)
    ]


def work_of(spec: DistillSpec) -> Work:
    """A spec in the words of `benchmarks.base`."""
    optimizer = spec.optimizer
    return Work(
        student=net_of(spec.student),
        teacher=net_of(spec.teachers[0]),
        size=spec.views.size,
        mixed=spec.precision == "mixed_bfloat16",
        temperature=spec.loss.temperature,
        lr=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        b1=optimizer.b1,
        b2=optimizer.b2,
        epsilon=optimizer.epsilon,
        clip_norm=optimizer.clip_norm or np.inf,
        factor=schedules.make(spec.schedule, spec.duration.total_steps or 1),
    )


def net_of(model: ModelSpec) -> Net:
    """A model's spec in the words of `benchmarks.base`."""
    options = model.options
    if "widths" in options:
        return Net(kind=model.name, stages=tuple(options["widths"]))
    depth = options["depth"]
    stages = UNITS[depth] if isinstance(depth, int) else tuple(depth)
    return Net(kind=model.name, stages=stages, width=round(64 * options["width"]))


def distiller(bench: Bench) -> Run:
    """(d) `keras.distillation.Distiller.fit` on nets of Keras's own layers, its crops and mixing in a `PyDataset`."""
    from benchmarks.stock import Views
    from benchmarks.stock import distiller as compiled

    spec, loader = bench.spec, bench.loader()
    work = work_of(spec)
    student, teacher = weights(spec)
    model = compiled(work, student, teacher, spec.duration.total_steps or 1, spec.schedule.warmup_steps)
    done = 0

    def draw(index: int) -> tuple[Array, Array, Array, float]:
        ids, draws = loader.drawn(done + index)
        return ids, draws.student.boxes, draws.student.flips, draws.mix

    def run(steps: int) -> float:
        nonlocal done
        history = model.fit(Views(bench.size.source.images, work, steps, draw), verbose=0, shuffle=False)
        done += steps
        return float(history.history["total_loss"][-1])

    return run


def supervised(bench: Bench) -> Run:
    """(e) Training of the student alone, on labels: what distilling costs on top."""
    loss = LossSpec(task_weight=1.0)
    spec = replace(bench.spec, teachers=(), teaching="labels", loss=loss, views=replace(bench.spec.views, mixup=1.0))
    return bare(bench.trainer(spec), bench.loader(spec))


VARIANTS: dict[str, Callable[[Bench], Run]] = {
    "trainer": whole,
    "step": step,
    "native": native,
    "distiller": distiller,
    "supervised": supervised,
    "timm": timm,
    "timm-compiled": partial(timm, compiles=True),
}

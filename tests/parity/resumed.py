"""A backend goes on with the state that a run on another one had after its first steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from backends.base import Backend, Device
from experiments.parity.measure import Result, batch_of, models
from framework.checkpoint import Checkpoints
from tests.parity import cases

CASE = "funmatch"


def resumed(backend: Backend, device: Device, precision: str, before: Result, controls: int = 0) -> Result:
    """The losses of the next steps, and the state after them.

    Args:
        backend, device: of this process.
        precision: of the spec.
        before: what `measure` gave on any backend; its state after the probed steps is gone on with.
        controls: how many times more it is gone on with, the weights changed a little before each step: another
            engine rounds in another way in each of them.
    """
    spec, examples = cases.spec_of(CASE, precision), cases.examples()
    # Other weights than those of the run: all that it has is in its state.
    student, *teachers = models(spec, examples.num_classes)
    student.set_weights([weight + 1.0 for weight in student.get_weights()])
    total = spec.duration.steps(len(examples.images), spec.batch_size)
    trainer = backend.compile(spec, student, teachers, total_steps=total, device=device)

    def go_on(state: Result, change: np.random.Generator | None = None) -> np.ndarray:
        trainer.restore(state)
        losses = []
        for _ in range(cases.RESUMED_STEPS[precision]):
            if change is not None:
                trainer.restore(perturbed(trainer.state(), change))
            losses.append(float(trainer.step(batch_of(spec, examples, trainer.steps_done))["loss"]))
        return np.array(losses)

    state = through_a_file(before, cases.PROBES[CASE])
    result = {"loss": go_on(state)} | {f"end/{name}": array for name, array in trainer.state().items()}
    rngs = map(np.random.default_rng, range(controls))
    return result | {f"control{number}": go_on(state, rng) for number, rng in enumerate(rngs)}


def perturbed(state: Result, rng: np.random.Generator) -> Result:
    """The state with each of the student's weights changed by `PERTURBATION`, up or down."""
    return {
        name: (array + cases.PERTURBATION * rng.choice([-1, 1], array.shape)).astype(array.dtype)
        if name.startswith("student/") and array.dtype.kind == "f"
        else array
        for name, array in state.items()
    }


def through_a_file(before: Result, step: int) -> Result:
    """The state before a step, written by one process and read by another as checkpoints are."""
    prefix = f"state{step}/"
    state = {name.removeprefix(prefix): array for name, array in before.items() if name.startswith(prefix)}
    with tempfile.TemporaryDirectory() as folder:
        Checkpoints(Path(folder)).save(state, {})
        return Checkpoints(Path(folder)).load()[0]

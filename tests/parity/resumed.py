"""A backend goes on with the state that a run on another one had after its first steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from backends.base import Backend, Device
from experiments.parity.measure import Result, batch_of, models
from framework.files.checkpoints import Checkpoints
from tests.parity import cases

CASE = "funmatch"


def resumed(backend: Backend, device: Device, precision: str, before: Result, control: bool = False) -> Result:
    """The losses of the next steps, and the state after them.

    Args:
        backend, device: of this process.
        precision: of the spec.
        before: what `measure` gave on any backend; its state after the probed steps is gone on with.
        control: whether it is gone on with once more, from weights that are changed a little.
    """
    spec, examples = cases.spec_of(CASE, precision), cases.examples()
    # Other weights than those of the run: all that it has is in its state.
    student, *teachers = models(spec, examples.num_classes)
    student.set_weights([weight + 1.0 for weight in student.get_weights()])
    total = spec.duration.steps(len(examples.images), spec.batch_size)
    trainer = backend.compile(spec, student, teachers, total_steps=total, device=device)

    def go_on(state: Result, end: str) -> Result:
        trainer.restore(state)
        steps = range(cases.RESUMED_STEPS[precision])
        losses = [float(trainer.step(batch_of(spec, examples, trainer.steps_done))["loss"]) for _ in steps]
        return {f"{end}/{name}": array for name, array in trainer.state().items()} | {"loss": np.array(losses)}

    state = through_a_file(before, cases.PROBES[CASE])
    beside = go_on(perturbed(state), "control") if control else {}
    return beside | go_on(state, "end")


def perturbed(state: Result) -> Result:
    """The state with each of the student's weights changed by `PERTURBATION`, up or down."""
    rng = np.random.default_rng(0)
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

"""A process of several that train together: `python -m tests.backends.world_run JOB.json`; the first writes what came.

The job: backend, precision, devices, steps, batch_size, grad_accum_steps, out, and `broken`, what is done wrong on
purpose. The world comes from the environment, as a launcher sets it.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends.base import Settings
from experiments.distributed import joining
from framework import data
from framework.data.loader import EvalBatches, Loader
from framework.spec import DataSpec, DistillSpec


def spec_of(job: dict[str, Any]) -> DistillSpec:
    small = {"name": "convnet", "options": {"widths": [6]}}
    normed = {"name": "tests.backends.tiny:normed"}
    return DistillSpec.from_dict(
        {
            "precision": job["precision"],
            "data": {"name": "digits"},
            "views": {"size": 8, "area": [0.5, 1.0]},
            "teachers": [small],
            "student": normed if "norm" in job else small,
            "batch_norm_size": job.get("norm"),
            "loss": {"task_weight": 0.1},
            "batch_size": job["batch_size"],
            "optimizer": {"lr": 0.01, "weight_decay": 0.001, "clip_norm": 0.05},
        }
    )


def break_it(how: str | None) -> None:
    """Do one thing wrong.

    The partner across the border of a part, unequal parts as equals, clip before the sum, or each device's statistics.
    """
    from backends import trainer
    from backends.trainer import BackendTrainer
    from framework import task, world
    from framework.optimizers.adamw import clip_factor, global_norm

    if how == "partner":
        cut = world.micro_batches
        # Each part is mixed with its own last example.
        task.micro_batches = (
            lambda batch, sizes, boundary: [  # type: ignore[assignment]
                replace(part, images=np.concatenate([part.images[-1:], part.images[1:]]))  # type: ignore[index]
                for part in cut(batch, sizes, boundary)
            ]
        )
    if how == "share":
        inputs = task.Task.micro_batches
        task.Task.micro_batches = lambda self, batch: [  # type: ignore[method-assign]
            {name: value for name, value in part.items() if name != "share"} for part in inputs(self, batch)
        ]
    if how == "statistics":
        world._summing.append(lambda own: own)
        trainer.summed_by = lambda function: nullcontext()  # type: ignore[assignment]
    if how == "clip":
        weighed = BackendTrainer.weighed

        def clipped(self: Any, carry: Any, seen: Any) -> Any:
            (loss, *grads), buffers = weighed(self, carry, seen)
            factor = clip_factor(global_norm(grads), 0.05)
            return [loss, *(each * factor for each in grads)], buffers

        BackendTrainer.weighed = clipped  # type: ignore[method-assign]


def main(job: dict[str, Any]) -> None:
    backend = backends.load(job["backend"])
    break_it(job.get("broken"))
    world = joining.joined(60.0)
    spec = spec_of(job)
    device = backend.configure(
        Settings(device="cpu", threads=1, precision=spec.precision, devices=job.get("devices"), world=world)
    )
    world = replace(world, devices=device.count)
    from framework.models import catalog

    teacher, student = (
        catalog.build(each.name, each.options, 10, 8, seed)
        for seed, each in enumerate([spec.teachers[0], spec.student])
    )
    steps = job["steps"]
    trainer = backend.compile(
        spec,
        student,
        [teacher],
        total_steps=steps,
        device=device,
        grad_accum_steps=job["grad_accum_steps"],
        world=world,
    )
    splits = data.load(DataSpec(name="digits"), Path(job["cache"]))
    loader = Loader(spec, splits.train, steps, world=world)
    found: dict[str, list[float]] = {"loss": [], "grad_norm": []}
    first: dict[str, Any] = {}
    for batch in loader.batches(0):
        metrics = trainer.step(batch)
        for name, values in found.items():
            values.append(float(metrics[name]))
        first = first or trainer.state()
    measured = trainer.evaluate(
        EvalBatches(replace(spec, evaluation=replace(spec.evaluation, batch_size=50)), splits.test, world=world)
    )
    if world.rank == 0:
        # After one step a first moment is the clipped gradient.
        gradient = {f"gradient.{name}": each for name, each in first.items() if name.startswith("optimizer/m/")}
        evaluated = {f"test.{name}": np.asarray(value) for name, value in measured.items()}
        np.savez(job["out"], **found, **trainer.state(), **gradient, **evaluated)
    world.gather("done")
    if (channel := joining.channel()) is not None:
        channel.close()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))

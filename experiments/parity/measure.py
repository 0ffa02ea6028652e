"""One backend's side of a comparison: everything a run computes, as named numpy arrays.

`draws` [N] and `loss` [N] of N steps; for the first steps k `probe{k}/...` (views, logits, loss, gradients before the
update) and `state{k}/...` (before step k); `end/...`, the state after the last step; `evaluation/...`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framework.draws.order import ExampleOrder
from framework.draws.views import draw, draws_hash
from framework.errors import UserError, near
from framework.protocols import Array, Batch, EvalBatch

if TYPE_CHECKING:
    from backends.base import Backend, Device
    from framework.spec import DataSpec, DistillSpec, ModelSpec

Result = dict[str, Array]
SPREAD = 0.1  # of biases about 0 and of scales about 1, where training would start from the exact values
GAIN = 8.0  # of a teacher's dense kernels: without training it would hardly tell one image from another


@dataclass(frozen=True)
class Examples:
    """What is trained and evaluated on.

    Attributes:
        images: uint8 [N, H, W, 3], of the training split.
        labels: int32 [N], or None without labels.
        num_classes: logits of the models.
        evaluated: uint8 [M, H, W, 3] and int32 [M].
    """

    images: Array
    labels: Array | None
    num_classes: int
    evaluated: tuple[Array, Array]


def load_examples(spec: DataSpec, cache: Path) -> Examples:
    """The training split, and up to 512 images of the test, validation or training split.

    Raises:
        UserError: the data can't be loaded, or the images have several sizes.
    """
    from framework.data import load

    splits = load(spec, cache)
    measured = splits.test or splits.validation or splits.train
    for source in (splits.train, measured):
        if source.uniform is None:
            raise UserError(f"{source.name}: parity needs images of one size, and these have several")
    ids, few = np.arange(splits.train.num_examples), np.arange(min(512, measured.num_examples))
    labels = measured.labels(few)
    return Examples(
        np.asarray(splits.train.images(ids)),
        splits.train.labels(ids),
        len(splits.classes) if splits.classes else 10,
        (np.asarray(measured.images(few)), np.full(len(few), -1, np.int32) if labels is None else labels),
    )


def measure(
    backend: Backend,
    device: Device,
    spec: DistillSpec,
    examples: Examples,
    steps: int,
    probes: int = 1,
    told: Callable[[int], object] = lambda done: None,
) -> Result:
    """Run a spec for some steps and note what it computes.

    Args:
        backend: loaded, and configured for the spec's precision.
        device: what `configure` gave.
        spec: the distillation; `duration` gives the schedule its length.
        examples: the data.
        steps: updates, at least `probes`.
        probes: of how many steps, from the first, the inner values are kept.
        told: called with the number of steps done.

    Returns:
        The arrays that the module names.

    Raises:
        UserError: the teachers' targets would be made before the training.
    """
    if spec.scheme.averaged:
        raise UserError(
            f"teaching = {spec.teaching!r}: not compared by parity, whose teachers see the views of each step"
        )
    student, *teachers = models(spec, examples.num_classes)
    total = spec.duration.steps(len(examples.images), spec.batch_size)
    trainer = backend.compile(spec, student, teachers, total_steps=total, device=device)
    result: Result = {}
    hashes, losses = [], []
    for step in range(steps):
        batch = batch_of(spec, examples, step)
        assert batch.draws is not None
        if step < probes:
            result |= _named(f"state{step}", trainer.state()) | _named(f"probe{step}", trainer.probe(batch))
        hashes.append(draws_hash(batch.draws))
        losses.append(trainer.step(batch)["loss"])
        if step + 1 == probes:
            result |= _named(f"state{probes}", trainer.state())
        told(step + 1)
    result |= {"draws": np.array(hashes), "loss": np.array([float(loss) for loss in losses])}
    metrics = {name: np.asarray(value) for name, value in trainer.evaluate(eval_batches(spec, examples)).items()}
    return result | _named("end", trainer.state()) | _named("evaluation", metrics)


def batch_of(spec: DistillSpec, examples: Examples, step: int) -> Batch:
    """The canvases, draws and labels of one step: the same on every backend."""
    ids, epochs = ExampleOrder(len(examples.images), spec.batch_size, spec.seed).batch(step)
    sizes = np.tile(examples.images.shape[1:3], (len(ids), 1))
    labels = None if examples.labels is None else examples.labels[ids]
    return Batch(images=examples.images[ids], draws=draw(spec, step, ids, epochs, sizes), labels=labels)


def eval_batches(spec: DistillSpec, examples: Examples) -> Iterator[EvalBatch]:
    """The evaluated images, whole, in full batches; the last one is padded."""
    images, labels = examples.evaluated
    count = spec.batch_size
    for start in range(0, len(images), count):
        part = slice(start, start + count)
        padding = count - len(images[part])
        student, *others = (_whole(images[part], size, padding, spec) for size in (spec.views.size, *spec.view_sizes))
        yield EvalBatch(
            student,
            np.pad(labels[part].astype(np.int32), (0, padding), constant_values=-1),
            np.pad(np.ones(len(images[part]), np.float32), (0, padding)),
            tuple(others),
        )


def _whole(images: Array, size: int, padding: int, spec: DistillSpec) -> Array:
    from framework.data.hostviews import evaluation_view

    views = [evaluation_view(image, None, None, size, spec.views.truncate) / 127.5 - 1 for image in images]
    return np.pad(np.stack(views).astype(np.float32), ((0, padding), (0, 0), (0, 0), (0, 0)))


def value_of(name: str, shape: tuple[int, ...], seed: int, gain: float = 1.0) -> Array:
    """What `models` gives to one parameter, float32 of that shape: no kernel zero, no bias zero, no scale one."""
    from framework.models.initial import initial_value, truncated_normal

    role = name.rsplit("/", 1)[-1]
    if sum(side > 1 for side in shape) > 1 or "kernel" in role:
        drawn = initial_value(f"{name}/kernel", shape, seed)
        return drawn * np.float32(gain) if len(shape) == 2 else drawn
    centre = 1.0 if role in ("scale", "gamma", "moving_variance") else 0.0
    drawn = truncated_normal(f"parity:{seed}:{name}", int(np.prod(shape)))
    return (centre + SPREAD * drawn).astype(np.float32).reshape(shape)


def models(spec: DistillSpec, num_classes: int, value: Callable[..., Array] = value_of) -> list[Any]:
    """The student and the teachers, none of their parameters at a value that would hide a part of the arithmetic.

    Args:
        spec: the distillation.
        num_classes: logits of each.
        value: gives a parameter its value, as `value_of` does.
    """
    from framework.models.initial import draw, parameters

    built = []
    sizes = (spec.views.size, *spec.teacher_sizes)
    for number, (model, size) in enumerate(zip((spec.student, *spec.teachers), sizes, strict=True)):
        built.append(_build(model, num_classes, size, spec.seed + number))
        floats = {name: each for name, each in parameters(built[-1]).items() if "float" in str(each.dtype)}
        draw(floats, partial(value, seed=spec.seed + number, gain=GAIN if number else 1.0))
    return built


def _build(model: ModelSpec, num_classes: int, image_size: int, seed: int) -> Any:
    from framework.models import catalog
    from framework.models.catalog import MODELS

    known = model.name in MODELS or ":" in model.name or model.name.endswith(".keras")
    if not known:
        raise UserError(
            f"model {model.name!r}: parity draws all weights anew and takes no stored teacher, but a model: "
            f"{near(model.name, MODELS)}; or package.module:function"
        )
    # Ours are drawn once, by `models`.
    return catalog.build(model.name, model.options, num_classes, image_size, None if model.name in MODELS else seed)


def _named(prefix: str, arrays: Any) -> Result:
    # numpy's files don't know bfloat16.
    plain = {name: array.astype(np.float32) if array.dtype.kind == "V" else array for name, array in arrays.items()}
    return {f"{prefix}/{name}": array for name, array in plain.items()}

"""A measured result held against the numpy reference: the checks of one backend in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from experiments.parity.compare import Check, relative
from experiments.parity.measure import GAIN, Result, batch_of, eval_batches, value_of
from framework.protocols import Draws, ViewDraws
from framework.spec import DistillSpec
from tests.parity import cases, reference

Array = np.ndarray
TOLERANCE = 1e-10
ROUNDED = 2**-7  # of what is stored in 8 bits
CASES = ("funmatch", "independent", "bfloat16", "task", "sizes")  # the reference knows no BiT


def checks(case: str, result: Result, evaluated: bool = True) -> list[Check]:
    """Everything in a result that the reference can say, for the probed steps of a case."""
    spec = cases.spec_of(case)
    found: list[Check] = []
    for step in range(sum(name.endswith("/loss") and name.startswith("probe") for name in result)):
        found += step_checks(case, spec, result, step)
    return found + (evaluation_checks(spec, result) if case in cases.EVALUATED and evaluated else [])


def step_checks(case: str, spec: DistillSpec, result: Result, step: int) -> list[Check]:
    probe, before, after = (named(result, f"{name}/") for name in (f"probe{step}", f"state{step}", f"state{step + 1}"))
    views = views_of(case, step)
    parameters, gradients = named(before, "student/"), named(probe, "gradient/")
    loss = loss_of(spec, views, labels_of(spec, step))
    last = f"view.teacher{len(spec.teachers) - 1}" if len(spec.view_sizes) > 1 else "view.teacher"
    found = [
        Check(f"student's view {step}", relative(views[0], probe["view.student"]), TOLERANCE),
        Check(f"teachers' view {step}", relative(views[1], probe["view.teacher"]), TOLERANCE),
        Check(f"the last teacher's view {step}", relative(views[-1], probe[last]), TOLERANCE),
        Check(f"loss {step}", relative(np.array(loss(parameters).real), probe["loss"]), TOLERANCE),
        Check(f"loss of the step {step}", relative(probe["loss"], result["loss"][step]), TOLERANCE),
    ]
    if step == 0:
        found += [gradient_check(loss, parameters, gradients, name) for name in gradients]
    return found + update_checks(spec, before, after, gradients, step)


def gradient_check(loss: Callable[[Any], Any], parameters: Result, gradients: Result, name: str) -> Check:
    """One parameter's gradient along one random direction, relative to the product of their norms."""
    gradient = gradients[name]
    direction = np.random.default_rng(len(name)).standard_normal(gradient.shape)
    apart = abs(reference.derivative(loss, parameters, name, direction) - float((gradient * direction).sum()))
    norms = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
    return Check(f"gradient of {name}", apart / norms, TOLERANCE)


def update_checks(spec: DistillSpec, before: Result, after: Result, gradients: Result, step: int) -> list[Check]:
    assert spec.duration.total_steps is not None
    factor = reference.cosine(step, spec.duration.total_steps)
    parameters, m = named(before, "student/"), named(before, "optimizer/m/")
    if spec.optimizer.name == "sgd":
        new, new_m = reference.sgd(parameters, gradients, m, factor, spec.optimizer)
        wanted = {"student": new, "optimizer/m": new_m}
    else:
        v = named(before, "optimizer/v/")
        new, new_m, new_v = reference.adamw(parameters, gradients, m, v, step, factor, spec.optimizer)
        wanted = {"student": new, "optimizer/m": new_m, "optimizer/v": new_v}
    found = []
    for kind, arrays in wanted.items():
        rounded = kind == "optimizer/m" and spec.optimizer.moment_dtype == "bfloat16"
        apart = max(relative(array, after[f"{kind}/{name}"]) for name, array in arrays.items())
        found.append(Check(f"{kind} after step {step}", apart, ROUNDED if rounded else TOLERANCE))
    return found


def evaluation_checks(spec: DistillSpec, result: Result) -> list[Check]:
    batches = list(eval_batches(spec, cases.examples()))
    mask = np.concatenate([batch.mask for batch in batches]) > 0
    views = np.concatenate([batch.views for batch in batches])[mask].astype(np.float64)
    labels = np.concatenate([batch.labels for batch in batches])[mask]
    student = logits_of(spec.student, named(result, "end/student/"), views)
    others = [np.concatenate(each)[mask] for each in zip(*[batch.teacher_views for batch in batches], strict=True)]
    own = {size: view.astype(np.float64) for size, view in zip(spec.view_sizes, others, strict=True)}
    teachers = teachers_of(spec, [own[size] for size in spec.teacher_sizes])
    teacher = reference.mean_softmax(teachers, 1.0) if len(teachers) > 1 else teachers[0]
    order = np.argsort(-student, axis=1, kind="stable")
    winners = teacher.argmax(1)
    wanted = {
        "examples": float(len(labels)),
        "student.accuracy": (student.argmax(1) == labels).mean(),
        "teacher.accuracy": (teacher.argmax(1) == labels).mean(),
        "student.loss": reference.cross_entropy(student, labels).mean(),
        "teacher.loss": reference.cross_entropy(teacher, labels).mean(),
        "student.kl": reference.divergence(student, teacher, 1.0).mean(),
        "student.agreement@1": (order[:, 0] == winners).mean(),
        "student.agreement@5": (order[:, :5] == winners[:, None]).any(1).mean(),
    }
    if len(teachers) > 1:
        wanted |= {f"teacher{i}.accuracy": (each.argmax(1) == labels).mean() for i, each in enumerate(teachers)}
        wanted |= {f"teacher{i}.loss": reference.cross_entropy(each, labels).mean() for i, each in enumerate(teachers)}
    found = named(result, "evaluation/")
    missing = np.array(np.nan)
    return [
        Check(name, relative(np.array(value), found.get(name, missing)), TOLERANCE) for name, value in wanted.items()
    ]


def loss_of(spec: DistillSpec, views: Sequence[Array], labels: Array) -> Callable[[Any], Any]:
    teachers = teachers_of(spec, views[1:])
    if spec.loss.ensemble == "mean_probs":
        teachers = [reference.mean_softmax(teachers, spec.loss.temperature)]

    def loss(parameters: Any) -> Any:
        student = logits_of(spec.student, parameters, views[0])
        each = sum(reference.divergence(student, teacher, spec.loss.temperature) for teacher in teachers)
        return np.mean(each + spec.loss.task_weight * reference.cross_entropy(student, labels))

    return loss


def labels_of(spec: DistillSpec, step: int) -> Array:
    labels = batch_of(spec, cases.examples(), step).labels
    assert labels is not None
    return labels


def logits_of(model: Any, parameters: Any, views: Array) -> Array:
    standardised = model.options.get("standardised", False)
    return reference.convnet(parameters, views, cases.strides(model.options), standardised)


def teachers_of(spec: DistillSpec, views: Sequence[Array]) -> list[Array]:
    result = []
    for number, (teacher, view) in enumerate(zip(spec.teachers, views, strict=True), start=1):
        parameters = drawn(teacher.options, spec.seed + number)
        result.append(logits_of(teacher, parameters, reference.caffe(view) if teacher.normalize else view))
    return result


def drawn(options: dict[str, Any], seed: int) -> dict[str, Array]:
    """A teacher's parameters, by name and shape."""
    shapes, channels = {}, 3
    for stage, (width, steps) in enumerate(zip(options["widths"], cases.strides(options), strict=True), start=1):
        for number in range(1, len(steps) + 1):
            shapes[f"stage{stage}/conv{number}/kernel"] = (3, 3, channels, width)
            shapes |= {f"stage{stage}/norm{number}/{name}": (1, 1, 1, width) for name in ("scale", "bias")}
            channels = width
    shapes |= {"head/kernel": (channels, 10), "head/bias": (10,)}
    return {name: value_of(name, shape, seed, GAIN).astype(np.float64) for name, shape in shapes.items()}


@cache
def views_of(case: str, step: int) -> list[Array]:
    """The student's view of a step, and each teacher's."""
    spec = cases.spec_of(case)
    batch = batch_of(spec, cases.examples(), step)
    assert batch.draws is not None
    assert batch.images is not None
    sizes, mild = (spec.views.size, *spec.teacher_sizes), spec.teaching.endswith("/rc")
    own = (batch.draws.student, *[batch.draws.teacher for _ in spec.teachers])
    return [rendered(batch.images, of, batch.draws, size, mild) for of, size in zip(own, sizes, strict=True)]


def rendered(images: Array, of: ViewDraws, draws: Draws, size: int, mild: bool) -> Array:
    each = zip(images, of.boxes, of.flips, strict=True)
    return reference.mixed(np.stack([reference.view(*one, size, mild) for one in each]), draws.mix)


def named(arrays: Result, prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

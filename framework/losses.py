"""Distances between student and teacher, from logits (the authors' `dist`), one value for each example.

All go through log-softmax, never through clipped probabilities, so that neither value nor gradient vanishes where the
two disagree most. Shapes: B batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Annotated, Any

import numpy as np
from keras import ops

from framework.errors import UserError
from framework.spec import LossSpec
from framework.spec.named import check_options, find
from framework.spec.validation import Range, arguments

Tensor = Any
Distance = Callable[..., Tensor]  # (student_bc, teacher_bc, temperature), and its options by name
Share = Annotated[float, Range(lambda share: 0 <= share < 1, "0 <= share < 1")]
Ensemble = Callable[[Sequence[Tensor], float], Tensor]


def kl(student_bc: Tensor, teacher_bc: Tensor, temperature: float) -> Tensor:
    """T² KL(softmax(teacher / T) || softmax(student / T)).

    Args:
        student_bc: logits [B, C].
        teacher_bc: logits [B, C].
        temperature: T, more than 0.

    Returns:
        [B], 0 or more.

    Reference: Hinton, Vinyals and Dean 2015 (the factor T²); paper, section 3.
    """
    student_log = ops.log_softmax(student_bc / temperature, axis=-1)
    teacher_log = ops.log_softmax(teacher_bc / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(teacher_log) * (teacher_log - student_log), axis=-1)


def euclidean(student_bc: Tensor, teacher_bc: Tensor, temperature: float) -> Tensor:
    """Euclidean distance of the logits; arguments as in `kl`, the temperature is not used."""
    del temperature
    return ops.sqrt(ops.sum(ops.square(student_bc - teacher_bc), axis=-1) + 1e-12)


def l2(student_bc: Tensor, teacher_bc: Tensor, temperature: float) -> Tensor:
    """Squared Euclidean distance of the logits; arguments as in `kl`, the temperature is not used."""
    del temperature
    return ops.sum(ops.square(student_bc - teacher_bc), axis=-1)


def hard(student_bc: Tensor, teacher_bc: Tensor, temperature: float, label_smoothing: Share = 0.0) -> Tensor:
    """KL from the teacher's arg-max, which has 1 - label_smoothing of the target; other classes share the rest.

    Arguments as in `kl`, the temperature is not used; without smoothing it is the cross-entropy.
    """
    del temperature
    num_classes = student_bc.shape[-1]
    winner = ops.one_hot(ops.argmax(teacher_bc, axis=-1), num_classes, dtype=student_bc.dtype)
    shares = [1.0 - label_smoothing, label_smoothing / max(1, num_classes - 1)]
    target = shares[0] * winner + shares[1] * (1.0 - winner)
    entropy = -sum(
        count * share * math.log(share) for count, share in zip((1, num_classes - 1), shares, strict=True) if share
    )
    return soft_cross_entropy(student_bc, target) - entropy


def logsoftmax_euclidean(student_bc: Tensor, teacher_bc: Tensor, temperature: float) -> Tensor:
    """Euclidean distance of the log-softmaxes; arguments as in `kl`, the temperature is not used."""
    return euclidean(ops.log_softmax(student_bc, axis=-1), ops.log_softmax(teacher_bc, axis=-1), temperature)


DISTANCES: Mapping[str, Distance] = {
    "kl": kl,
    "euclidean": euclidean,
    "l2": l2,
    "hard": hard,
    "logsoftmax_euclidean": logsoftmax_euclidean,
}


def bound(spec: LossSpec) -> Distance:
    """The distance that a spec names, with its options: a function of student, teacher and temperature.

    Raises:
        UserError: there is no such distance or option, or an option has another type or is out of range.
    """
    distance = find(spec.distance, DISTANCES, "loss.distance")
    ours = _ours(distance, spec.distance)
    check_options(distance, spec.options, ours, f"loss.distance = {spec.distance!r}")
    return partial(distance, **arguments(distance, spec.options, "loss.options")) if spec.options else distance


def _ours(distance: Distance, name: str) -> list[str]:
    """The names of the three parameters that every distance has."""
    known = list(signature(distance).parameters.values())
    first = known[:3]
    plain = [each for each in first if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if len(plain) < 3 and not any(each.kind is each.VAR_POSITIONAL for each in first):
        taken = ", ".join(each.name for each in known)
        raise UserError(
            f"loss.distance = {name!r} must take (student logits, teacher logits, temperature); it takes ({taken})"
        )
    return [each.name for each in first]


def tried(spec: LossSpec, num_classes: int) -> None:
    """Try a distance of one's own on two examples before anything starts.

    Args:
        spec: the loss.
        num_classes: logits of student and teacher.

    Raises:
        UserError: it fails, or what it returns are not as many finite numbers as there are examples.
    """
    if spec.distance in DISTANCES:
        return
    # Where there are two classes as well, a mean over the wrong axis must not look right.
    count, what = 2 if num_classes != 2 else 3, f"loss.distance = {spec.distance!r}"
    logits = np.random.default_rng(0).normal(size=(2, count, num_classes))
    student_bc, teacher_bc = (ops.convert_to_tensor(each, dtype="float32") for each in logits)
    try:
        values = bound(spec)(student_bc, teacher_bc, spec.temperature)
        shape = tuple(values.shape)
        found = ops.convert_to_numpy(ops.cast(values, "float32"))
    except UserError:
        raise
    except Exception as error:  # it is the user's code
        raise UserError(f"{what} fails on {count} examples: {type(error).__name__}: {error}") from error
    if shape != (count,):
        raise UserError(
            f"{what} returns {list(shape) or 'a scalar'} for {count} examples: expected [{count}], a value for each, "
            "without a mean or sum over the batch"
        )
    if not np.isfinite(found).all():
        raise UserError(f"{what} gives {found.tolist()} for {count} examples: expected finite numbers")


def mean_logits(teachers_bc: Sequence[Tensor], temperature: float) -> Tensor:
    """The teacher whose logits are the mean of the teachers' (paper, section 3.3).

    Args:
        teachers_bc: logits [B, C] of one teacher or more.
        temperature: not used.

    Returns:
        logits [B, C].
    """
    del temperature
    return sum(teachers_bc[1:], teachers_bc[0]) / len(teachers_bc)


def mean_probs(teachers_bc: Sequence[Tensor], temperature: float) -> Tensor:
    """The teacher whose softmax at T is the mean of the teachers'; arguments as in `mean_logits`.

    The sum of the divergences from several teachers is, but for a constant, their number times the one from this.
    """
    if len(teachers_bc) == 1:
        return teachers_bc[0]
    logs = ops.stack([ops.log_softmax(teacher_bc / temperature, axis=-1) for teacher_bc in teachers_bc], axis=0)
    return temperature * (ops.logsumexp(logs, axis=0) - math.log(len(teachers_bc)))


# The one teacher that several are; where the distances to them are added up, they are measured by their mean softmax.
ENSEMBLES: Mapping[str, Ensemble] = {"sum_kl": mean_probs, "mean_logits": mean_logits, "mean_probs": mean_probs}


def cross_entropy(logits_bc: Tensor, labels_b: Tensor) -> Tensor:
    """Cross-entropy in nats against integer labels.

    Args:
        logits_bc: logits [B, C].
        labels_b: integers [B]; an example labelled -1 has the value 0.

    Returns:
        [B], 0 or more.
    """
    return soft_cross_entropy(logits_bc, ops.one_hot(labels_b, logits_bc.shape[-1], dtype=logits_bc.dtype))


def soft_cross_entropy(logits_bc: Tensor, target_bc: Tensor) -> Tensor:
    """Cross-entropy in nats against shares of the classes.

    Args:
        logits_bc: logits [B, C].
        target_bc: shares [B, C], 0 or more; mixed labels are some.

    Returns:
        [B], 0 or more.
    """
    return -ops.sum(target_bc * ops.log_softmax(logits_bc, axis=-1), axis=-1)

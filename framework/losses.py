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

from keras import ops

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
    ours = list(signature(distance).parameters)[:3]
    check_options(distance, spec.options, ours, f"loss.distance = {spec.distance!r}")
    return partial(distance, **arguments(distance, spec.options, "loss.options")) if spec.options else distance


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

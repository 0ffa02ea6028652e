"""How well a student does, and how close it is to its teacher: sums on the device, means on the host.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from keras import ops

from framework.losses import cross_entropy, kl

Tensor = Any


def model_sums(logits_bc: Tensor, labels_b: Tensor, weights_b: Tensor) -> dict[str, Tensor]:
    """Sums of one model's accuracy and loss over the labelled examples.

    Args:
        logits_bc: [B, C].
        labels_b: integers [B], -1 without a label.
        weights_b: [B], 0 for padding.

    Returns:
        Scalars `labelled`, `accuracy` and `loss`; arg-max ties go to the lowest index.
    """
    labelled = weights_b * ops.cast(labels_b >= 0, weights_b.dtype)
    winner = ops.cast(ops.argmax(logits_bc, axis=-1), "int32")
    correct = ops.cast(ops.equal(winner, ops.cast(labels_b, "int32")), weights_b.dtype)
    loss = ops.cast(cross_entropy(logits_bc, labels_b), weights_b.dtype)
    return {"labelled": ops.sum(labelled), "accuracy": ops.sum(labelled * correct), "loss": ops.sum(labelled * loss)}


def teacher_rank(student_bc: Tensor, teacher_bc: Tensor) -> Tensor:
    """The student's rank of the teacher's arg-max, from 0: they agree @k where it is below k.

    Args:
        student_bc, teacher_bc: logits [B, C].

    Returns:
        int32 [B]; ties go to the lowest index, as in the arg-max.
    """
    winner = ops.cast(ops.argmax(teacher_bc, axis=-1), "int32")
    chosen = ops.one_hot(winner, teacher_bc.shape[-1], dtype=student_bc.dtype)
    score = ops.sum(chosen * student_bc, axis=-1, keepdims=True)
    places = ops.cast(ops.arange(student_bc.shape[-1]), "int32")[None, :]
    before = (student_bc > score) | (ops.equal(student_bc, score) & (places < winner[:, None]))
    return ops.sum(ops.cast(before, "int32"), axis=-1)


def fidelity_sums(student_bc: Tensor, teacher_bc: Tensor, weights_b: Tensor) -> dict[str, Tensor]:
    """Sums of the closeness to the teacher: KL at T = 1, agreement@1/@5 (its arg-max is in the student's top k).

    Args:
        student_bc, teacher_bc: logits [B, C].
        weights_b: [B], 0 for padding.

    Returns:
        Scalars `kl`, `agreement@1`, `agreement@5`.
    """
    rank = teacher_rank(student_bc, teacher_bc)
    sums = {"kl": ops.cast(kl(student_bc, teacher_bc, 1.0), weights_b.dtype)}
    sums |= {f"agreement@{k}": ops.cast(rank < k, weights_b.dtype) for k in (1, 5)}
    return {name: ops.sum(weights_b * value) for name, value in sums.items()}


def batch_sums(student_bc: Tensor, teacher_bc: Tensor | None, labels_b: Tensor, weights_b: Tensor) -> dict[str, Tensor]:
    """All sums of a batch under flat names, `"student.accuracy"`; arguments as in `model_sums` and `fidelity_sums`."""
    sums = {"seen": ops.sum(weights_b)}
    sums |= {f"student.{key}": value for key, value in model_sums(student_bc, labels_b, weights_b).items()}
    if teacher_bc is not None:
        sums |= {f"student.{key}": value for key, value in fidelity_sums(student_bc, teacher_bc, weights_b).items()}
        sums |= {f"teacher.{key}": value for key, value in model_sums(teacher_bc, labels_b, weights_b).items()}
    return sums


def answers(student_bc: Tensor, teacher_bc: Tensor | None) -> dict[str, Tensor]:
    """What is said of each example, an array of [B] each.

    Args:
        student_bc, teacher_bc: logits [B, C].

    Returns:
        `student` and `teacher`: the arg-max, int32; `student_p` and `teacher_p`: its probability at T = 1, in [0, 1];
        `kl`: from teacher to student at T = 1, in nats.
    """
    found = _first_choice("student", student_bc)
    if teacher_bc is not None:
        found |= _first_choice("teacher", teacher_bc) | {"kl": kl(student_bc, teacher_bc, 1.0)}
    return found


def _first_choice(name: str, logits_bc: Tensor) -> dict[str, Tensor]:
    winner = ops.cast(ops.argmax(logits_bc, axis=-1), "int32")
    return {name: winner, f"{name}_p": ops.max(ops.softmax(logits_bc, axis=-1), axis=-1)}


def means(batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Add up the batches' sums and divide.

    Args:
        batches: what `batch_sums` gave, as numbers.

    Returns:
        Plain floats, `"student.accuracy"`; accuracy and loss are left out where nothing has a label; `"examples"`.
    """
    found: dict[str, list[float]] = {}
    for sums in batches:
        for name, value in sums.items():
            found.setdefault(name, []).append(float(np.asarray(value)))
    if not found:
        return {}
    # Exactly, in whatever order the batches were measured.
    totals = {name: math.fsum(values) for name, values in found.items()}
    result = {"examples": totals["seen"]}
    for name, total in totals.items():
        model, _, metric = name.partition(".")
        count = totals[f"{model}.labelled"] if metric in ("accuracy", "loss") else totals["seen"]
        if metric and metric != "labelled" and count:
            result[name] = total / count
    return result

"""Metrics against the authors' evaluator and plain numpy (eval_metrics*.npz and distances*.npz of tests/golden)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from keras import ops

from framework import evaluation
from tests.recorded import params, recordings

GOLDEN, DISTANCES = recordings("eval_metrics"), recordings("distances")
FILES = params([(file,) for file in GOLDEN])


def batches(file: str) -> list[str]:
    return sorted(key.partition("/")[0] for key in GOLDEN[file].files if key.endswith("/ncorrect"))


BATCHES = params([(file, name) for file in GOLDEN for name in batches(file)])
AGREEMENTS = [(file, key) for file, arrays in DISTANCES.items() for key in arrays.files if "/agree_k" in key]
# Those of the k that a run reports.
REPORTED = params([(file, key) for file, key in AGREEMENTS if key.rpartition("k")[2] in ("1", "5")])
DIVERGENCES = [(file, key) for file, arrays in DISTANCES.items() for key in arrays.files if key.endswith("/kl_t1")]


Sums = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def sums(jitted: Any) -> Sums:
    """`sums(student, teacher, labels, weights)`, computed in one piece as the trainers do."""
    batch_sums = jitted(evaluation.batch_sums)

    def computed(student: Any, teacher: Any, labels: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        arrays = (student, teacher, labels.astype(np.int32), weights.astype(np.float32))
        found = batch_sums(*(None if each is None else ops.convert_to_tensor(each) for each in arrays))
        return {name: np.array(ops.convert_to_numpy(value)) for name, value in found.items()}

    return computed


def golden(file: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Logits, labels, weights, and how many examples were repeated.

    The authors' evaluator takes several labels for one example: it is right with any of them, and its loss is the sum
    over them. Ours has one label, so such an example stands here once for each of its labels.
    """
    logits, multi, mask = (GOLDEN[file][f"{name}/{key}"] for key in ("logits", "labels", "mask"))
    rows, labels = np.nonzero(multi)
    none = np.flatnonzero(multi.sum(1) == 0)
    rows, labels = np.concatenate([rows, none]), np.concatenate([labels, np.full(len(none), -1)])
    repeated = int((mask * np.maximum(multi.sum(1) - 1, 0)).sum())
    return logits[rows], labels, mask[rows], repeated


@pytest.mark.parametrize(("file", "name"), BATCHES)
def test_sums_equal_the_authors(file: str, name: str, sums: Sums) -> None:
    logits, labels, weights, repeated = golden(file, name)
    found = sums(logits, None, labels, weights)
    assert found["student.accuracy"] == GOLDEN[file][f"{name}/ncorrect"]
    assert found["student.labelled"] == GOLDEN[file][f"{name}/nseen"] + repeated
    np.testing.assert_allclose(found["student.loss"], GOLDEN[file][f"{name}/loss_sum"], rtol=1e-5)


@pytest.mark.parametrize("file", FILES)
def test_means_equal_the_authors(file: str, sums: Sums) -> None:
    """Over the batches: the repeated examples are taken out of the count."""
    found = []
    for name in batches(file):
        logits, labels, weights, repeated = golden(file, name)
        each = sums(logits, None, labels, weights)
        found.append(each | {"student.labelled": each["student.labelled"] - repeated})
    result = evaluation.means(found)
    assert result["student.accuracy"] == pytest.approx(float(GOLDEN[file]["total/accuracy"]))
    assert result["student.loss"] == pytest.approx(float(GOLDEN[file]["total/loss"]), rel=1e-5)


@pytest.mark.parametrize(("file", "key"), REPORTED)
def test_agreement_equals_the_authors(file: str, key: str, sums: Sums) -> None:
    case, k = key.split("/agree_k")
    student, teacher = (DISTANCES[file][f"{case}/{who}"] for who in ("student", "teacher"))
    for place, expected in enumerate(DISTANCES[file][key]):
        one = slice(place, place + 1)
        found = sums(student[one], teacher[one], np.array([-1]), np.ones(1))
        assert found[f"student.agreement@{k}"] == expected


@pytest.mark.parametrize(("file", "key"), params(AGREEMENTS))
def test_ranks_are_the_authors_agreement_at_any_k(file: str, key: str, jitted: Any) -> None:
    case, k = key.split("/agree_k")
    student, teacher = (ops.convert_to_tensor(DISTANCES[file][f"{case}/{who}"]) for who in ("student", "teacher"))
    rank = np.array(ops.convert_to_numpy(jitted(evaluation.teacher_rank)(student, teacher)))
    np.testing.assert_array_equal(rank < int(k), DISTANCES[file][key])


@pytest.mark.parametrize(("file", "key"), params(DIVERGENCES))
def test_kl_is_the_authors_at_temperature_one(file: str, key: str, sums: Sums) -> None:
    student, teacher = (DISTANCES[file][f"{key.partition('/')[0]}/{who}"] for who in ("student", "teacher"))
    found = sums(student, teacher, np.full(len(student), -1), np.ones(len(student)))
    expected = DISTANCES[file][key].sum(dtype=np.float64)
    np.testing.assert_allclose(found["student.kl"], expected, rtol=1e-4, atol=2e-5 * len(student))


def test_ties_go_to_the_lowest_index(sums: Sums) -> None:
    logits = np.array([[1, 3, 3, 0, 0, 0, 0], [2, 2, 2, 2, 2, 2, 2]], np.float32)
    best = sums(logits, logits, np.array([1, 0]), np.ones(2))
    assert best["student.accuracy"] == 2
    assert best["student.agreement@1"] == 2
    assert sums(logits, logits, np.array([2, 1]), np.ones(2))["student.accuracy"] == 0
    # The teacher's winner is class 6, which a student that finds all alike ranks last.
    teacher = np.eye(7, dtype=np.float32)[[6, 4]]
    tied = sums(np.zeros((2, 7), np.float32), teacher, np.array([-1, -1]), np.ones(2))
    assert tied["student.agreement@5"] == 1
    assert tied["student.agreement@1"] == 0


def test_padding_and_missing_labels_count_nowhere(sums: Sums) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 6, 9)).astype(np.float32)
    labels, weights = np.array([1, -1, 3, 4, -1, 2]), np.array([1, 1, 1, 1, 0, 0])
    padded = evaluation.means([sums(student, teacher, labels, weights)])
    plain = evaluation.means([sums(student[:4], teacher[:4], labels[:4], np.ones(4))])
    assert padded == pytest.approx(plain, rel=1e-6)
    assert plain["examples"] == 4
    seen = student[[0, 2, 3]]
    assert plain["student.accuracy"] == pytest.approx((seen.argmax(1) == [1, 3, 4]).mean())
    log = seen - np.log(np.exp(seen).sum(1, keepdims=True))
    assert plain["student.loss"] == pytest.approx(-log[[0, 1, 2], [1, 3, 4]].mean(), rel=1e-5)
    assert plain["student.agreement@1"] == pytest.approx((student[:4].argmax(1) == teacher[:4].argmax(1)).mean())


def test_names_depend_on_what_there_is(sums: Sums) -> None:
    logits = np.zeros((2, 3), np.float32)
    everything = evaluation.means([sums(logits, logits, np.array([0, 1]), np.ones(2))])
    fidelity = {"student.kl", "student.agreement@1", "student.agreement@5"}
    of_labels = {f"{who}.{what}" for who in ("student", "teacher") for what in ("accuracy", "loss")}
    assert set(everything) == {"examples"} | fidelity | of_labels
    assert all(type(value) is float for value in everything.values())
    assert set(evaluation.means([sums(logits, logits, np.array([-1, -1]), np.ones(2))])) == {"examples"} | fidelity
    alone = evaluation.means([sums(logits, None, np.array([0, 1]), np.ones(2))])
    assert set(alone) == {"examples", "student.accuracy", "student.loss"}
    assert evaluation.means([]) == {}


def test_batches_add_up(sums: Sums) -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 12, 7)).astype(np.float32)
    labels = rng.integers(-1, 7, 12)
    whole = evaluation.means([sums(student, teacher, labels, np.ones(12))])
    parts = [slice(0, 2), slice(2, 9), slice(9, 12)]
    split = evaluation.means(sums(student[p], teacher[p], labels[p], np.ones(len(labels[p]))) for p in parts)
    assert split == pytest.approx(whole, rel=1e-5)

"""Distances against numpy, and against the authors' (distances*.npz of tests/golden): values, loss and gradient."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from keras import ops

from framework.errors import UserError
from framework.losses import DISTANCES, ENSEMBLES, bound, cross_entropy, hard, kl, soft_cross_entropy, tried
from framework.spec import DistillSpec, LossSpec
from tests.recorded import params, recordings

GOLDEN = recordings("distances")
DIVERGENCES = [
    (file, key) for file, arrays in GOLDEN.items() for key in arrays.files if re.search(r"/kl_t[\d.]+$", key)
]
# Of every case the recorded values of our other distances.
OTHERS = [
    (file, key)
    for file, arrays in GOLDEN.items()
    for key in arrays.files
    if key.partition("/")[2] in DISTANCES.keys() - {"kl"}
]
HARD = [(file, key) for file, key in OTHERS if key.endswith("/hard")]
SMOOTHED = [(file, key) for file, arrays in GOLDEN.items() for key in arrays.files if "/hard_ls" in key]
SOFT = [(file, key) for file, arrays in GOLDEN.items() for key in arrays.files if key.endswith("/soft_labels")]


def log_softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    scaled = logits / temperature
    return scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))


# Each distance in numpy, from float64 logits [B, C] of student and teacher and a temperature: a new one has a row here.
WRITTEN: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "kl": lambda s, t, temperature: (
        temperature**2
        * (np.exp(log_softmax(t, temperature)) * (log_softmax(t, temperature) - log_softmax(s, temperature))).sum(-1)
    ),
    "euclidean": lambda s, t, temperature: np.linalg.norm(s - t, axis=-1),
    "l2": lambda s, t, temperature: ((s - t) ** 2).sum(-1),
    "hard": lambda s, t, temperature: -log_softmax(s)[np.arange(len(s)), t.argmax(-1)],
    "logsoftmax_euclidean": lambda s, t, temperature: np.linalg.norm(log_softmax(s) - log_softmax(t), axis=-1),
}


def logits(file: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The student's and the teacher's of the case that a recorded array belongs to."""
    case = key.partition("/")[0]
    return GOLDEN[file][f"{case}/student"], GOLDEN[file][f"{case}/teacher"]


def computed(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    return np.array(ops.convert_to_numpy(function(*tensors)))


def mean_kl(temperature: float) -> Callable[..., Any]:
    return lambda student, teacher: ops.sum(kl(student, teacher, temperature)) / student.shape[0]


@pytest.mark.parametrize(("file", "key"), params(DIVERGENCES))
def test_kl_equals_the_authors(file: str, key: str, differentiate: Any) -> None:
    temperature = float(key.partition("/kl_t")[2])
    close = {"atol": 2e-5 * max(1, temperature**2 / 10), "rtol": 2e-5}
    each = computed(lambda student, teacher: kl(student, teacher, temperature), *logits(file, key))
    np.testing.assert_allclose(each, GOLDEN[file][key], **close)
    mean, (gradient, _) = differentiate(mean_kl(temperature), *logits(file, key))
    np.testing.assert_allclose(mean, GOLDEN[file][f"{key}_mean"], **close)
    np.testing.assert_allclose(gradient, GOLDEN[file][f"{key}_grad_mean"], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("file", "key"), params(OTHERS))
def test_other_distances_equal_the_authors(file: str, key: str) -> None:
    name = key.partition("/")[2]
    each = computed(lambda student, teacher: DISTANCES[name](student, teacher, 3.0), *logits(file, key))
    np.testing.assert_allclose(each, GOLDEN[file][key], rtol=2e-5, atol=2e-5 if name == "hard" else 2e-6)


@pytest.mark.parametrize(("file", "key"), params(SMOOTHED))
def test_smoothed_hard_targets_equal_the_authors(file: str, key: str) -> None:
    smoothing = float(key.partition("/hard_ls")[2])
    each = computed(lambda student, teacher: hard(student, teacher, 1.0, smoothing), *logits(file, key))
    np.testing.assert_allclose(each, GOLDEN[file][key], rtol=2e-5, atol=2e-5)


def own(student: Any, teacher: Any, temperature: float, *, scale: float, power: int | None = None) -> Any:
    del temperature, power
    return scale * ops.sum(student - teacher, axis=-1)


def test_a_distance_takes_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = (np.random.default_rng(seed).normal(size=(3, 5)).astype(np.float32) for seed in (1, 2))
    monkeypatch.setitem(DISTANCES, "own", own)
    for name, options in (("hard", {"label_smoothing": 0.2}), ("own", {"scale": 2, "power": 3})):
        found = bound(LossSpec(distance=name, options=options))
        expected = computed(lambda s, t, n=name, o=options: DISTANCES[n](s, t, 1.0, **o), student, teacher)
        np.testing.assert_array_equal(computed(lambda s, t, f=found: f(s, t, 1.0), student, teacher), expected)
    assert bound(LossSpec()) is kl


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({"label_smoothing": 0.1}, "loss.distance = 'kl' has no option 'label_smoothing': it takes none"),
        (
            {"distance": "hard", "label_smoothing": 1},
            "loss.options.label_smoothing = 1.0: must be 0 <= share < 1",
        ),
        (
            {"distance": "hard", "options": {"label_smoothin": 0.1}},
            "loss.distance = 'hard' has no option 'label_smoothin': did you mean 'label_smoothing'?",
        ),
        ({"distance": "hard", "options": {"temperature": 2}}, "has no option 'temperature'"),
        (
            {"distance": "hard", "options": {"label_smoothing": "x"}},
            "loss.options.label_smoothing = 'x': expected a number, received str",
        ),
        ({"distance": "hard", "options": {"label_smoothing": -0.1}}, "label_smoothing = -0.1: must be 0 <= share"),
        ({"distance": "own"}, "loss.distance = 'own' needs the option 'scale'"),
        ({"distance": "own", "options": {"scale": 1, "power": "x"}}, "power = 'x': expected an integer, received str"),
        ({"distance": "harder"}, "loss.distance = 'harder': did you mean 'hard'?"),
    ],
)
def test_mistaken_options_are_explained(loss: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISTANCES, "own", own)
    with pytest.raises(UserError, match=re.escape(told)):
        bound(DistillSpec.from_dict({"loss": loss}).loss)


@pytest.mark.parametrize(("file", "key"), params(SOFT))
def test_soft_labels_cost_what_they_cost_the_authors(file: str, key: str) -> None:
    case, (student, _) = key.partition("/")[0], logits(file, key)
    each = computed(soft_cross_entropy, student, GOLDEN[file][key])
    np.testing.assert_allclose(each, GOLDEN[file][f"{case}/softmax_xent"], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(each.mean(), GOLDEN[file][f"{case}/softmax_xent_mean"], rtol=2e-5, atol=2e-6)
    entropy = computed(lambda own: soft_cross_entropy(own, ops.softmax(own)), student)
    np.testing.assert_allclose(entropy, GOLDEN[file][f"{case}/entropy_student"], rtol=2e-5, atol=2e-6)


def test_every_distance_is_compared() -> None:
    assert set(WRITTEN) == set(DISTANCES)
    assert {key.partition("/")[2] for _, key in OTHERS} == {"euclidean", "l2", "hard", "logsoftmax_euclidean"}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_distance_is_what_numpy_computes(name: str, temperature: float) -> None:
    student, teacher = (np.random.default_rng(seed).normal(0, 3, (16, 7)).astype(np.float32) for seed in (1, 2))
    each = computed(lambda s, t: DISTANCES[name](s, t, temperature), student, teacher)
    expected = WRITTEN[name](student.astype(np.float64), teacher.astype(np.float64), temperature)
    # A hundred times what float32 rounds away in sums of seven terms.
    np.testing.assert_allclose(each, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_has_one_value_for_each_example(name: str, differentiate: Any) -> None:
    """Finite with a finite gradient for logits of any size, and no example has to do with another."""
    scale = np.array([[0.0], [1.0], [1e2], [1e4]], np.float32)
    student, teacher = (scale * np.random.default_rng(seed).normal(size=(4, 6)).astype(np.float32) for seed in (1, 2))
    values, (gradient,) = differentiate(lambda s: DISTANCES[name](s, ops.convert_to_tensor(teacher), 1.0), student)
    assert values.shape == (4,)
    assert (values >= 0).all()
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    alone = computed(lambda s, t: DISTANCES[name](s, t, 1.0), student[1:2], teacher[1:2])
    np.testing.assert_allclose(values[1:2], alone, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_total_disagreement_still_teaches(temperature: float, differentiate: Any) -> None:
    """A divergence of clipped probabilities gives 16.1 here, and a gradient of zero."""
    student, teacher = (np.array([[sign * 40.0 * temperature, 0, 0, 0, 0]], np.float32) for sign in (-1, 1))
    value, (gradient, _) = differentiate(lambda s, t: kl(s, t, temperature), student, teacher)
    np.testing.assert_allclose(value, temperature**2 * (40 + np.log(4)), rtol=1e-6)
    np.testing.assert_allclose(gradient, [np.array([-1, 0.25, 0.25, 0.25, 0.25]) * temperature], rtol=1e-5)


def test_the_teacher_is_the_first_of_the_divergence() -> None:
    student, teacher = np.log(np.array([[[0.5, 0.5]], [[0.9, 0.1]]], np.float32))
    expected = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    np.testing.assert_allclose(computed(lambda s, t: kl(s, t, 1.0), student, teacher), [expected], rtol=1e-5)


@pytest.mark.parametrize(("file", "key"), params(HARD))
def test_cross_entropy_equals_the_authors_hard_distance(file: str, key: str) -> None:
    student, teacher = logits(file, key)
    each = computed(cross_entropy, student, teacher.argmax(-1).astype(np.int32))
    np.testing.assert_allclose(each, GOLDEN[file][key], rtol=2e-5, atol=2e-5)


def test_an_example_without_a_label_has_no_loss(differentiate: Any) -> None:
    labels = np.array([2, -1, 0], np.int32)
    student = np.random.default_rng(7).normal(size=(3, 6)).astype(np.float32)
    values, (gradient,) = differentiate(lambda s: cross_entropy(s, ops.convert_to_tensor(labels)), student)
    assert (values[[0, 2]] > 0).all()
    assert values[1] == 0
    assert not gradient[1].any()
    assert gradient[[0, 2]].any(axis=1).all()


TEACHERS = [np.random.default_rng(seed).normal(0, 4, (3, 5)).astype(np.float32) for seed in range(3)]


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) / temperature)
    return powers / powers.sum(-1, keepdims=True)


def ensemble(name: str, temperature: float, *teachers: np.ndarray) -> np.ndarray:
    return computed(lambda *each: ENSEMBLES[name](each, temperature), *teachers)


def test_mean_logits_are_the_mean_of_the_logits() -> None:
    for temperature in (1.0, 4.0):
        np.testing.assert_allclose(ensemble("mean_logits", temperature, *TEACHERS), np.mean(TEACHERS, 0), rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_mean_probs_have_the_mean_softmax(temperature: float) -> None:
    found = ensemble("mean_probs", temperature, *TEACHERS)
    expected = np.mean([softmax(each, temperature) for each in TEACHERS], 0)
    np.testing.assert_allclose(softmax(found, temperature), expected, rtol=1e-5)
    assert np.abs(softmax(np.mean(TEACHERS, 0), temperature) - expected).max() > 1e-3


@pytest.mark.parametrize("name", ENSEMBLES)
def test_one_teacher_is_itself(name: str) -> None:
    np.testing.assert_array_equal(ensemble(name, 3.0, TEACHERS[0]), TEACHERS[0])


def test_very_confident_teachers_have_a_finite_mean() -> None:
    found = ensemble("mean_probs", 1.0, *(1000 * np.eye(3, dtype=np.float32)[[place]] for place in (0, 1)))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(softmax(found), [[0.5, 0.5, 0]], atol=1e-6)


def test_summed_divergences_teach_what_the_mean_softmax_teaches(differentiate: Any) -> None:
    """Their gradients differ by the number of teachers alone; that of the mean logits is another one."""
    student, temperature = np.random.default_rng(9).normal(size=(3, 5)).astype(np.float32), 2.0

    def summed(own: Any) -> Any:
        return sum(kl(own, ops.convert_to_tensor(each), temperature) for each in TEACHERS)

    def averaged(name: str) -> Callable[[Any], Any]:
        return lambda own: kl(own, ENSEMBLES[name]([ops.convert_to_tensor(t) for t in TEACHERS], temperature), 2.0)

    gradients = [
        differentiate(each, student)[1][0] for each in (summed, averaged("mean_probs"), averaged("mean_logits"))
    ]
    np.testing.assert_allclose(gradients[0], 3 * gradients[1], rtol=0, atol=1e-5)
    assert np.abs(gradients[1] - gradients[2]).max() > 1e-2


@pytest.fixture
def own_losses(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A user's own losses."""
    module = types.ModuleType("own_losses")
    module.right = lambda student, teacher, temperature: ops.sum(ops.square(student - teacher), -1)
    module.rest = lambda *logits, scale=1.0: scale * ops.sum(logits[0] - logits[1], -1)
    module.scalar = lambda student, teacher, temperature: ops.mean(ops.square(student - teacher))
    module.classes = lambda student, teacher, temperature: ops.mean(ops.square(student - teacher), 0)
    module.column = lambda student, teacher, temperature: ops.sum(student, -1, keepdims=True)
    module.nan = lambda student, teacher, temperature: ops.log(-ops.sum(ops.square(student), -1))
    module.none = lambda student, teacher, temperature: None
    module.two = lambda student, teacher: ops.sum(student, -1)
    monkeypatch.setitem(sys.modules, "own_losses", module)
    return module


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_a_loss_of_ones_own_is_tried(own_losses: types.ModuleType, num_classes: int) -> None:
    for name in ("right", "rest"):
        tried(LossSpec(distance=f"own_losses:{name}"), num_classes)
    for name, told in (
        ("scalar", "returns a scalar for . examples: expected"),
        ("classes", rf"returns \[{num_classes}\] for . examples"),
        ("column", r"returns \[., 1\] for . examples"),
        ("nan", "expected finite numbers"),
        ("none", "fails on . examples: AttributeError"),
    ):
        with pytest.raises(UserError, match=f"'own_losses:{name}' .*{told}"):
            tried(LossSpec(distance=f"own_losses:{name}"), num_classes)


def test_a_loss_of_another_arity_is_refused_at_once(own_losses: types.ModuleType) -> None:
    with pytest.raises(UserError, match=r"'own_losses:two' must take .*temperature\); it takes \(student, teacher\)"):
        bound(LossSpec(distance="own_losses:two"))

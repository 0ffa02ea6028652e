"""The admission test: which models pass, what is said of the others, and that their state stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from framework.errors import UserError
from framework.models.admission import Candidate

SIZE, CLASSES = 8, 5


class Own(keras.Model):
    """A head of one's own over the flat image: `head(logits, training)` gives what the model does."""

    def __init__(self, head: Callable[..., Any]) -> None:
        super().__init__()
        self.dense, self.head, self.state = layers.Dense(CLASSES, use_bias=False), head, {}
        self.seeds = keras.random.SeedGenerator(0)
        self.build((None, SIZE, SIZE, 3))

    def build(self, input_shape: Any) -> None:
        self.dense.build((None, SIZE * SIZE * 3))
        self.count = self.add_weight(name="count", shape=(), initializer="zeros", trainable=False)
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self, self.dense(ops.reshape(x, (-1, SIZE * SIZE * 3))), training)


def functional(*tail: Any) -> keras.Model:
    image = keras.Input((SIZE, SIZE, 3))
    outputs = layers.Dense(CLASSES)(layers.Flatten()(image))
    for layer in tail:
        outputs = layer(outputs)
    return keras.Model(image, outputs)


def counted(model: Own, logits: Any, training: bool) -> Any:
    if training:
        model.count.assign(model.count + 1.0)
    return logits + model.count


class Held:
    """What Keras doesn't track."""

    calls = 0.0


def hidden(model: Own, logits: Any, training: bool) -> Any:
    held = model.__dict__.setdefault("held", Held())
    held.calls += float(training)
    return logits * (1.0 + held.calls)


def masked(logits: Any, value: float) -> Any:
    return ops.concatenate([ops.full_like(logits[:, :1], value), logits[:, 1:]], axis=-1)


RIGHT: dict[str, Callable[[], keras.Model]] = {
    "plain": functional,
    "gelu, mostly in [0, 1]": lambda: functional(layers.Activation("gelu")),
    "hard sigmoid": lambda: functional(layers.Activation("hard_sigmoid")),
    "log softmax": lambda: functional(layers.Activation("log_softmax")),
    "batch norm and dropout": lambda: functional(layers.BatchNormalization(), layers.Dropout(0.5)),
    "a counter that is a variable": lambda: Own(counted),
    "tied, transposed head": lambda: Own(lambda m, x, t: x @ ops.transpose(m.dense.kernel)[:, :CLASSES]),
    "zero": lambda: Own(lambda m, x, t: 0.0 * x),
}
WRONG: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "softmax, reshape": (
        lambda: functional(layers.Softmax(), layers.Reshape((CLASSES,))),
        "gives probabilities .*, expected logits: leave out its softmax",
    ),
    "softmax, dropout": (lambda: functional(layers.Softmax(), layers.Dropout(0.3)), "gives probabilities"),
    "softmax, cast": (lambda: Own(lambda m, x, t: ops.cast(ops.softmax(x), "float16")), "gives probabilities"),
    "dictionary": (lambda: Own(lambda m, x, t: {"aux": x, "logits": x}), r"gives a dictionary \(aux, logits\)"),
    "two outputs": (lambda: Own(lambda m, x, t: (x, x)), "gives 2 outputs, expected one tensor"),
    "a list of one": (lambda: Own(lambda m, x, t: [x]), "gives a list of one tensor"),
    "maps": (lambda: Own(lambda m, x, t: x[:, :, None, None]), r"gives \[4, 5, 1, 1\] for 4 images"),
    "one image": (lambda: Own(lambda m, x, t: ops.sum(x, 0)), r"gives \[5\] for 4 images"),
    "nan": (lambda: Own(lambda m, x, t: masked(x, float("nan"))), "gives NaN, expected finite logits"),
    "-inf": (lambda: Own(lambda m, x, t: masked(x, float("-inf"))), "gives -inf for output 0.* -1e4"),
    "chance": (
        lambda: Own(lambda m, x, t: keras.random.dropout(x, 0.5, seed=m.seeds)),
        "gives other logits for the same images",
    ),
    "another size": (
        lambda: keras.Sequential([keras.Input((9, 9, 3)), layers.Flatten(), layers.Dense(5)]),
        "take views",
    ),
}
# Of students alone.
TRAINED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "auxiliary head": (lambda: Own(lambda m, x, t: (x, x) if t else x), "in training mode gives 2 outputs"),
    "twice": (lambda: Own(lambda m, x, t: ops.concatenate([x, x], -1) if t else x), r"gives \[4, 10\] in training"),
    "nan": (lambda: Own(lambda m, x, t: x * float("nan") if t else x), "in training mode gives NaN"),
    "hidden state": (lambda: Own(hidden), "keeps something from training that is no parameter"),
}


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(each)) for each in model.variables]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_model_is_admitted_and_its_state_stays(name: str) -> None:
    model = RIGHT[name]()
    before = values(model)
    candidate = Candidate(model, "the model", SIZE)
    candidate.admit_teacher(may_be_constant=name == "zero")
    candidate.admit_student()
    for one, other in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_refused_as_teacher_and_student(name: str) -> None:
    make, told = WRONG[name]
    with pytest.raises(UserError, match=f"the teacher 'x'.*{told}"):
        Candidate(make(), "the teacher 'x'", SIZE).admit_teacher()
    with pytest.raises(UserError, match=f"the student 'x'.*{told}"):
        Candidate(make(), "the student 'x'", SIZE).admit_student()


@pytest.mark.parametrize("name", TRAINED)
def test_a_student_is_tried_in_training_mode(name: str) -> None:
    make, told = TRAINED[name]
    Candidate(make(), "the model", SIZE).admit_teacher()
    with pytest.raises(UserError, match=f"the student 'x'.*{told}"):
        Candidate(make(), "the student 'x'", SIZE).admit_student()


def test_a_teacher_in_training_mode_is_refused() -> None:
    model = Own(lambda m, x, t: x - ops.mean(x, 0, keepdims=True))
    with pytest.raises(UserError, match="depends on the other images of the batch: it is in training mode"):
        Candidate(model, "the teacher", SIZE).admit_teacher()
    Candidate(model, "the student", SIZE).admit_student()


def test_a_teacher_that_says_the_same_of_every_image_is_refused() -> None:
    candidate = Candidate(RIGHT["zero"](), "the teacher", SIZE)
    with pytest.raises(UserError, match=r"the same answer for every image: wrong input range \(teacher\.normalize\)"):
        candidate.admit_teacher()


def test_a_student_without_trainable_parameters_is_refused() -> None:
    model = functional()
    model.trainable = False
    Candidate(model, "the teacher", SIZE).admit_teacher()
    with pytest.raises(UserError, match="the student has no parameter that can be trained: all are frozen"):
        Candidate(model, "the student", SIZE).admit_student()


def test_weights_that_are_nan_are_named() -> None:
    model = functional()
    model.set_weights([np.full(each.shape, np.nan) for each in model.get_weights()])
    with pytest.raises(
        UserError, match=r"the teacher has weights that are not finite numbers, for example 'dense.*/kernel'"
    ):
        Candidate(model, "the teacher", SIZE).admit_teacher()


@pytest.mark.parametrize("admit", [Candidate.admit_teacher, Candidate.admit_student])
def test_our_own_models_are_tried_as_all_others(
    admit: Callable[[Candidate], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer pixels: they take any number."""
    from framework.models import catalog
    from framework.models.convnet import ConvNet

    model, seen, logits = catalog.build("convnet", {"widths": [4]}, CLASSES, 48, 0), [], ConvNet.call
    monkeypatch.setattr(ConvNet, "call", lambda self, x: seen.append(x.shape) or logits(self, x))
    admit(Candidate(model, "the model", 48))
    assert {tuple(shape) for shape in seen} == {(4, 32, 32, 3)}
    monkeypatch.setattr(ConvNet, "call", lambda self, x: ops.softmax(logits(self, x)))
    with pytest.raises(UserError, match="the model gives probabilities"):
        admit(Candidate(model, "the model", 48))
    model.variables[0].assign(np.full(model.variables[0].shape, np.inf))
    with pytest.raises(UserError, match="the model has weights that are not finite"):
        admit(Candidate(model, "the model", 48))


def test_a_teacher_sees_its_own_input_range() -> None:
    """Of pixels, where views in [-1, 1] would give no numbers."""
    model = Own(lambda m, x, t: x)
    model.call = lambda x, training=False: ops.sqrt(ops.mean(x, (1, 2)))  # type: ignore[method-assign]
    Candidate(model, "the teacher", SIZE, "pixels").admit_teacher()
    with pytest.raises(UserError, match="gives NaN"):
        Candidate(model, "the teacher", SIZE).admit_teacher()

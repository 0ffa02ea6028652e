"""Parameters by name; initial values as a pure function of seed and name."""

from __future__ import annotations

import hashlib
import statistics

import keras
import numpy as np
import pytest

from framework.errors import UserError
from framework.models import initial
from framework.models.convnet import convnet

Array = np.ndarray


def small(**options: object) -> keras.Model:
    return convnet(3, 8, **{"widths": [4, 8], **options})


def values(model: keras.Model) -> dict[str, Array]:
    return {name: keras.ops.convert_to_numpy(v) for name, v in initial.parameters(model).items()}


def test_names_are_paths_without_the_models_own() -> None:
    names = list(initial.parameters(small()))
    stages = [f"stage{i}/{name}" for i in (1, 2) for name in ("conv1/kernel", "norm1/scale", "norm1/bias")]
    assert names == [*stages, "head/kernel", "head/bias"]


def test_any_keras_model_has_unique_names() -> None:
    def block() -> keras.Model:
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="same")])

    view = keras.Input((4,), name="view")
    norm = keras.layers.BatchNormalization(name="norm")(block()(block()(view)))
    model = keras.Model(view, keras.layers.Dropout(0.5, seed=1, name="drop")(norm))
    named = initial.parameters(model)
    assert len(named) == len(model.variables) == 9
    assert {id(variable) for variable in named.values()} == {id(variable) for variable in model.variables}
    assert {"norm/gamma", "norm/moving_mean"} < set(named)


def test_equal_paths_are_numbered() -> None:
    class Twins(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="twins")
            self.parts = [keras.layers.Dense(2, name="part"), keras.layers.Dense(2, name="part")]

        def build(self, input_shape: tuple[int, ...]) -> None:
            for part in self.parts:
                part.build(input_shape)

        def call(self, x: object) -> object:
            return self.parts[1](self.parts[0](x))

    model = Twins()
    model.build((None, 2))
    assert list(initial.parameters(model)) == ["part/kernel", "part/bias", "part/kernel#2", "part/bias#2"]


def test_an_unbuilt_model_is_refused() -> None:
    with pytest.raises(UserError, match="'lazy' has no variables: call its build"):
        initial.parameters(keras.Sequential([keras.layers.Dense(2)], name="lazy"))


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    first, second = small(), small()
    initial.initialise(first, 3)
    initial.initialise(second, 4)
    other = values(second)
    initial.initialise(second, 3)
    for name, value in values(first).items():
        np.testing.assert_array_equal(value, values(second)[name])
        assert (value == other[name]).all() == (not name.endswith("/kernel"))
    wider = small(widths=[4, 8, 8])
    initial.initialise(wider, 3)
    np.testing.assert_array_equal(values(wider)["stage2/conv1/kernel"], values(first)["stage2/conv1/kernel"])


def test_initial_values_never_change() -> None:
    kernel = initial.initial_value("block1/unit01/conv1/kernel", (3, 3, 16, 32), 0)
    assert kernel.dtype == np.float32
    assert hashlib.sha256(kernel.tobytes()).hexdigest()[:16] == "c33af9e3dbf79856"


def test_kernels_are_lecun_normal() -> None:
    kernel = initial.initial_value("a/kernel", (3, 3, 64, 256), 1) * np.sqrt(9 * 64)
    count = kernel.size
    limit = 2 / initial.TRUNCATED_STD
    assert 0.999 * limit < np.abs(kernel).max() <= limit
    # Four standard errors of the mean, and of the standard deviation (its kurtosis is below the normal's).
    assert abs(kernel.mean()) < 4 / np.sqrt(count)
    assert abs(kernel.std() - 1) < 4 / np.sqrt(2 * count)
    normal = statistics.NormalDist()
    inside = (normal.cdf(1) - normal.cdf(-1)) / (normal.cdf(2) - normal.cdf(-2))
    assert abs((np.abs(kernel) * initial.TRUNCATED_STD < 1).mean() - inside) < 4 * np.sqrt(inside / count)


def test_longer_draws_begin_with_the_shorter() -> None:
    np.testing.assert_array_equal(initial.truncated_normal("k", 1000)[:10], initial.truncated_normal("k", 10))


def test_scales_are_one_and_biases_zero() -> None:
    model = small(head_zero_init=True)
    initial.initialise(model, 0)
    for name, value in values(model).items():
        constant = {"scale": 1.0, "bias": 0.0}.get(name.rsplit("/", 1)[-1], 0.0 if name == "head/kernel" else None)
        assert np.unique(value).tolist() == [constant] if constant is not None else value.std() > 0


def test_a_parameter_without_a_rule_is_a_fault() -> None:
    with pytest.raises(ValueError, match="no initial distribution for a parameter called 'gamma'"):
        initial.initial_value("norm/gamma", (3,), 0)


def test_assign_fills_by_name_and_keeps_what_is_excluded() -> None:
    model, source = small(), small()
    initial.initialise(model, 1)
    initial.initialise(source, 2)
    arrays, before = values(source), values(model)
    initial.assign(model, dict(reversed(arrays.items())), dont_load=["head/.*"])
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, (before if name.startswith("head/") else arrays)[name])


def test_assign_refuses_what_does_not_fit_and_changes_nothing() -> None:
    model = small()
    initial.initialise(model, 1)
    before = values(model)
    other = {name: value + 1 for name, value in before.items()}
    misnamed = {("stage1/conv1/kernels" if name == "stage1/conv1/kernel" else name): v for name, v in other.items()}
    with pytest.raises(UserError, match=r"1 missing, e.g. stage1/conv1/kernel \(did you mean 'stage1/conv1/kernels'\?"):
        initial.assign(model, misnamed)
    with pytest.raises(UserError, match=r"1 unexpected, e.g. extra"):
        initial.assign(model, {**other, "extra": np.zeros(1)})
    with pytest.raises(UserError, match=r"head/kernel is \(8, 3\), the array is \(3, 8\)"):
        initial.assign(model, {**other, "head/kernel": other["head/kernel"].T})
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])

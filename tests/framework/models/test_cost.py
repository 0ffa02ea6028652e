"""Counts against published ones, and against sums done by hand."""

from __future__ import annotations

import keras
import pytest

from framework.models import catalog, cost

BIT = {"depth": 50, "width": 1.0}


def test_a_resnet50_at_224_is_the_known_one() -> None:
    found = cost.of(cost.outline("bit", BIT, 1000, 224))
    assert found.parameters == found.trainable == 25_549_352
    # Published for the stride in the 3x3 convolution: 4.09 to 4.12 GMAC.
    assert found.macs == pytest.approx(4.1e9, rel=0.01)


def test_r152x2_costs_about_ten_times_r50() -> None:
    teacher, student = (
        cost.of(cost.outline("bit", options, 1000, 224)) for options in ({"depth": 152, "width": 2.0}, BIT)
    )
    assert teacher.parameters == 236_335_208
    assert 10 < teacher.macs / student.macs < 12


def test_keras_own_layers_are_counted_too() -> None:
    # Its stride is in the first 1x1 convolution, which makes 3.86 of the 4.1 billion.
    with keras.StatelessScope(initialize_variables=False):  # whose initialisers are slow
        model = keras.applications.ResNet50(weights=None)
    found = cost.of(model)
    keras.utils.clear_session()
    assert found.parameters == 25_636_712
    assert found.parameters - found.trainable == 53_120
    assert found.macs == pytest.approx(3.86e9, rel=0.01)


@pytest.mark.parametrize(("variant", "macs"), [("large", 219e6), ("small", 56e6)])
def test_mobilenets_cost_what_their_paper_says(variant: str, macs: float) -> None:
    assert cost.of(cost.outline("mobilenet_v3", {"variant": variant}, 1000, 224)).macs == pytest.approx(macs, rel=0.02)


def test_arithmetic_is_unknown_where_sizes_are() -> None:
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3), keras.layers.Dense(2)])
    assert cost.of(model) == cost.Cost(parameters=122, trainable=122, macs=0, kept=0, largest=0)


def test_sums_by_hand() -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, padding="same", strides=2, name="a"),
            keras.layers.DepthwiseConv2D(3, name="b"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, name="c"),
        ]
    )
    found = cost.of(model)
    assert found.macs == 9 * 3 * 4 * 16 + 9 * 4 * 4 + 4 * 5
    assert found.kept == 8 * 8 * 3 + 4 * 4 * 4 + 4
    assert found.largest == 8 * 8 * 3 + 4 * 4 * 4
    assert found.parameters == (9 * 3 * 4 + 4) + (9 * 4 + 4) + (4 * 5 + 5)


@pytest.mark.parametrize(
    ("name", "options"), [("bit", {"depth": [1, 1], "width": 0.5}), ("convnet", {"widths": [4, 8]})]
)
def test_the_outline_is_the_model(name: str, options: dict[str, object]) -> None:
    outline = cost.outline(name, options, 7, 32)
    assert all(variable._value is None for variable in outline.variables)
    found = [cost.of(model) for model in (outline, catalog.build(name, options, 7, 32, 0))]
    assert found[0] == found[1] == cost.of(catalog.build(name, options, 7, 32, None))

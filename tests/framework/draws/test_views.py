"""Draws: pure functions of their keys, in TensorFlow's distribution of crop boxes and the authors' of mixing factors.

crop_boxes*.npz have 20,000 boxes of the authors' `inception_crop` for each image size, mixup*.npz quantiles of 50,000
mixing factors (tests/golden). Two samples of 20,000 from one distribution differ by less than 0.0163 with 99 %
(Kolmogorov and Smirnov); a sampler as torchvision's (area and log-aspect uniform) differs by more than 0.1.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from framework.draws.views import crop_boxes, draw, draws_hash, mix_factors
from framework.protocols import Draws
from framework.spec import DistillSpec, ViewsSpec
from tests.recorded import params, recordings

BOXES, MIXUP = recordings("crop_boxes"), recordings("mixup")
# Of each file the sets of boxes, and the sets of quantiles, by image size: `375x500_default`.
DRAWN = [(file, key) for file, arrays in BOXES.items() for key in arrays.files if key.endswith("/boxes_yxhw")]
DESCRIBED = [(file, key) for file, arrays in BOXES.items() for key in arrays.files if key.endswith("/area_quantiles")]
FACTORS = [(file, key) for file, arrays in MIXUP.items() for key in arrays.files if key.endswith("/lam_quantiles")]
COUNT = 20_000
LARGEST_KS = 0.02


def size_of(key: str) -> tuple[int, int]:
    height, width = map(int, re.match(r"(\d+)x(\d+)_", key).groups())  # type: ignore[union-attr]
    return height, width


def spec(**changes: Any) -> DistillSpec:
    return DistillSpec(**changes)


def drawn(size: tuple[int, int], **changes: Any) -> Draws:
    sizes = np.tile(size, (COUNT, 1))
    return draw(spec(**changes), 0, np.arange(COUNT), np.zeros(COUNT, np.int64), sizes)


def measures(boxes: np.ndarray, height: int, width: int) -> dict[str, np.ndarray]:
    """What a crop is like; offsets only of boxes that could have moved."""
    top, left, high, wide = boxes.astype(np.float64).T
    rows, columns = height - high, width - wide
    return {
        "area": high * wide / (height * width),
        "aspect": wide / high,
        "height": high,
        "top": (top / np.maximum(rows, 1))[rows > 0],
        "left": (left / np.maximum(columns, 1))[columns > 0],
    }


@pytest.mark.parametrize(("file", "key"), params(DRAWN))
@pytest.mark.parametrize("measure", ["area", "aspect", "height", "top", "left"])
def test_boxes_are_distributed_as_tensorflow_s(file: str, key: str, measure: str) -> None:
    size = size_of(key)
    expected = measures(BOXES[file][key], *size)[measure]
    found = measures(drawn(size).student.boxes, *size)[measure]
    assert stats.ks_2samp(found, expected).statistic < LARGEST_KS


@pytest.mark.parametrize(("file", "key"), params(DESCRIBED))
def test_quantiles_are_tensorflow_s(file: str, key: str) -> None:
    """Also where ImageNet's recipe writes the aspect out; the recorded quantiles bound the difference."""
    golden, name, size = BOXES[file], key.partition("/")[0], size_of(key)
    found = measures(drawn(size).student.boxes, *size)
    for measure, recorded in {"area": "area", "aspect": "aspect", "top": "rel_y", "left": "rel_x"}.items():
        quantiles = golden[f"{name}/{recorded}_quantiles"].astype(np.float64)
        levels, inside = golden["quantile_levels"], slice(1, -1)
        # Between the two: many boxes share one value, so the levels may be anywhere within its step.
        below = (found[measure][None] < quantiles[inside, None] - 1e-6).mean(1)
        upto = (found[measure][None] <= quantiles[inside, None] + 1e-6).mean(1)
        assert (below < levels[inside] + LARGEST_KS).all()
        assert (upto > levels[inside] - LARGEST_KS).all()


def test_the_distribution_test_can_fail() -> None:
    file, key = DRAWN[0]
    size, golden = size_of(key), BOXES[file][key]
    wider = drawn(size, views=ViewsSpec(aspect=(0.75, 1.45))).student.boxes
    found, expected = measures(wider, *size), measures(golden, *size)
    assert max(stats.ks_2samp(found[key], expected[key]).statistic for key in expected) > 2 * LARGEST_KS


@given(
    st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), min_size=1, max_size=8),
    st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted).map(tuple),
    st.tuples(st.floats(0.01, 50), st.floats(0.01, 50)).map(sorted).map(tuple),
    st.integers(0, 2**63 - 1),
)
def test_boxes_lie_inside_the_image(
    sizes: list[tuple[int, int]], area: tuple[float, float], aspect: tuple[float, float], seed: int
) -> None:
    boxes = crop_boxes(np.array(sizes), area, aspect, (seed, np.arange(len(sizes))))
    assert boxes.dtype == np.int64
    top, left, height, width = boxes.T
    full_height, full_width = np.array(sizes).T
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert (top + height <= full_height).all()
    assert (left + width <= full_width).all()
    whole = (height == full_height) & (width == full_width)
    share = height * width / (full_height * full_width)
    assert (whole | ((share >= area[0] - 1e-9) & (share <= area[1] + 1e-9))).all()


def test_an_impossible_crop_is_the_whole_image() -> None:
    boxes = crop_boxes(np.array([[4, 400]]), (0.9, 1.0), (0.75, 1.33), (0, np.arange(1)))
    np.testing.assert_array_equal(boxes, [[0, 0, 4, 400]])


SQUARE = ViewsSpec(size=128)  # out of the image resized to 160 x 160


def test_mild_crops_are_windows_of_the_resized_image() -> None:
    """The authors' `resize(160)|random_crop(128)`: offsets of 0 to 32 whole pixels of the square, each as likely."""
    top, left, height, width = drawn((320, 480), teaching="same/rc", views=SQUARE).student.boxes.astype(np.float64).T
    np.testing.assert_array_equal(height, np.full(COUNT, 256))
    np.testing.assert_array_equal(width, np.full(COUNT, 384))
    for offsets in (top / 2, left / 3):
        np.testing.assert_array_equal(offsets, np.rint(offsets))
        counts = np.bincount(offsets.astype(int), minlength=33)
        assert len(counts) == 33
        assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.03


@pytest.mark.parametrize(("views", "share", "offset"), [(SQUARE, 0.8, 16), (ViewsSpec(size=128, resize=257), 0, 64)])
def test_the_central_crop_is_the_middle_of_the_resized_image(views: ViewsSpec, share: float, offset: int) -> None:
    boxes = drawn((320, 480), teaching="fix/cc", views=views).teacher.boxes
    pixels = np.array([320, 480]) / views.square
    expected = np.concatenate([offset * pixels, (share or 128 / 257) * np.array([320, 480])])
    np.testing.assert_allclose(boxes, np.tile(expected, (COUNT, 1)), rtol=1e-6)


IDS, EPOCHS, SIZES = np.array([5, 0, 9, 5]), np.array([0, 1, 1, 2]), np.array([[24, 24], [30, 40], [24, 24], [24, 24]])


@pytest.mark.parametrize("teaching", ["fixed", "independent", "funmatch", "fix/cc", "fix/ic_ens", "ind/rc", "same/rc"])
def test_draws_are_a_function_of_their_keys_alone(teaching: str) -> None:
    of = spec(teaching=teaching, seed=4, views=ViewsSpec(augmentations=("brightness", "grayscale")))
    together = draw(of, 7, IDS, EPOCHS, SIZES)
    assert draws_hash(together) == draws_hash(draw(of, 7, IDS, EPOCHS, SIZES))
    for place in range(4):
        alone = draw(of, 7, *(each[place : place + 1] for each in (IDS, EPOCHS, SIZES)))
        for who in ("student", "teacher"):
            for name in ("boxes", "flips", "extra"):
                many = getattr(getattr(together, who), name)
                np.testing.assert_array_equal(many[place : place + 1], getattr(getattr(alone, who), name))


def test_each_word_of_the_key_matters() -> None:
    base = spec(views=ViewsSpec(augmentations=("brightness",)))
    ids, epochs, sizes = np.arange(64), np.zeros(64, np.int64), np.full((64, 2), 48)
    first = draw(base, 0, ids, epochs, sizes).student
    for other in (
        draw(base.replace(seed=1), 0, ids, epochs, sizes).student,
        draw(base, 0, ids + 64, epochs, sizes).student,
        draw(base, 0, ids, epochs + 1, sizes).student,
        draw(base.replace(teaching="independent"), 0, ids, epochs, sizes).teacher,
    ):
        for name in ("boxes", "flips", "extra"):
            same = (getattr(first, name) == getattr(other, name)).mean()
            assert same < {"boxes": 0.2, "flips": 0.8, "extra": 0.01}[name]
    # The step is no key of a view: an example of one epoch has one view, whatever the batch size.
    np.testing.assert_array_equal(draw(base, 5, ids, epochs, sizes).student.boxes, first.boxes)


def test_shared_views_are_one_object() -> None:
    shared = ("consistent", "funmatch", "same/rc", "same/ic", "same/ic,mix", "fix/rs")
    own = ("independent", "fixed", "fix/cc", "ind/rc", "ind/ic")
    assert all(draw(spec(teaching=name), 0, IDS, EPOCHS, SIZES).shared for name in shared)
    assert not any(draw(spec(teaching=name), 0, IDS, EPOCHS, SIZES).shared for name in own)


def test_student_s_view_is_the_same_in_all_teachings() -> None:
    views = [draw(spec(teaching=name), 0, IDS, EPOCHS, SIZES).student for name in ("independent", "fixed", "funmatch")]
    for view in views[1:]:
        np.testing.assert_array_equal(view.boxes, views[0].boxes)
        np.testing.assert_array_equal(view.flips, views[0].flips)


@pytest.mark.parametrize(("teaching", "column"), [("ind/ic", 2), ("ind/rc", 0)])
def test_independent_views_are_unrelated(teaching: str, column: int) -> None:
    both = drawn((64, 64), teaching=teaching, views=SQUARE)
    student, teacher = both.student, both.teacher
    for first, second in ((student.boxes[:, column], teacher.boxes[:, column]), (student.flips, teacher.flips)):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


@pytest.mark.parametrize("teaching", ["fixed", "fix/rs", "fix/cc"])
def test_fixed_shows_the_teacher_one_view_for_ever(teaching: str) -> None:
    teachers = [draw(spec(teaching=teaching, seed=seed), seed, IDS, EPOCHS + seed, SIZES).teacher for seed in (0, 3)]
    whole = np.concatenate([np.zeros_like(SIZES), SIZES], axis=1)
    for view in teachers:
        np.testing.assert_array_equal(view.boxes, teachers[0].boxes)
        assert np.array_equal(view.boxes, whole) == (teaching != "fix/cc")
        assert not view.flips.any()
        assert not view.extra.any()


def test_the_student_of_a_fixed_teacher_sees_new_views_but_for_rs() -> None:
    for teaching in ("fixed", "fix/rs", "fix/cc", "fix/ic_ens"):
        first, second = (draw(spec(teaching=teaching), 0, IDS, EPOCHS + later, SIZES).student for later in (0, 1))
        assert np.array_equal(first.boxes, second.boxes) == (teaching == "fix/rs")


def test_shapes_and_dtypes() -> None:
    view = draw(spec(views=ViewsSpec(augmentations=("brightness", "grayscale"))), 0, IDS, EPOCHS, SIZES).student
    assert [(a.shape, a.dtype) for a in (view.boxes, view.flips, view.extra)] == [
        ((4, 4), np.float32),
        ((4,), np.float32),
        ((4, 2, 8), np.float32),
    ]
    assert 0 <= view.extra.min() < view.extra.max() < 1
    assert len(np.unique(view.extra)) == view.extra.size


def test_flips_are_half_and_can_be_off() -> None:
    flips = drawn((24, 24)).student.flips
    assert set(np.unique(flips)) == {0.0, 1.0}
    assert stats.binomtest(int(flips.sum()), COUNT).pvalue > 1e-3
    assert not drawn((24, 24), views=ViewsSpec(flip=False)).student.flips.any()


def test_flips_are_unrelated_to_boxes() -> None:
    view = drawn((64, 64)).student
    assert max(abs(np.corrcoef(view.flips, column)[0, 1]) for column in view.boxes.T) < 0.03


@pytest.mark.parametrize(("file", "key"), params(FACTORS))
def test_mixing_factors_are_distributed_as_the_authors(file: str, key: str) -> None:
    name, golden = key.partition("/")[0], MIXUP[file]
    p = float(name.removeprefix("dist_p"))
    factors = np.sort(mix_factors(2, np.arange(COUNT // 2), p))
    assert 0.5 <= factors[0] <= factors[-1] <= 1
    quantiles, levels = golden[key], golden["dist/quantile_levels"]
    inside = (quantiles > 0.5) & (quantiles < 1)  # where many factors round to 1, its level is the jump's end
    assert inside.any()
    shares = np.searchsorted(factors, quantiles[inside], side="right") / len(factors)
    assert np.abs(shares - levels[inside]).max() < LARGEST_KS
    assert np.mean(factors) == pytest.approx(golden[f"{name}/lam_mean_std_min_max"][0], abs=0.005)


def test_the_factor_is_one_float32_a_step() -> None:
    steps = np.arange(100)
    factors = mix_factors(0, steps, 1.0)
    assert factors.dtype == np.float32
    assert len(set(factors)) == 100
    assert (factors != mix_factors(1, steps, 1.0)).all()
    assert (mix_factors(0, steps, 0.0) == 1).all()
    assert [mix_factors(0, steps[step : step + 1], 1.0)[0] for step in steps] == factors.tolist()


def test_the_teaching_decides_on_mixing() -> None:
    factors = {
        name: draw(spec(teaching=name), 3, IDS, EPOCHS, SIZES).mix for name in ("fixed", "consistent", "funmatch")
    }
    assert factors["fixed"] == factors["consistent"] == 1
    assert factors["funmatch"] == mix_factors(0, np.array([3]), 1.0)[0] < 1
    own = draw(spec(views=ViewsSpec(mixup=0.1)), 3, IDS, EPOCHS, SIZES).mix
    assert own == mix_factors(0, np.array([3]), 0.1)[0]


def test_the_hash_knows_every_number() -> None:
    base = draw(spec(teaching="independent", views=ViewsSpec(augmentations=("brightness",))), 0, IDS, EPOCHS, SIZES)
    hashes = {draws_hash(base), draws_hash(dataclasses.replace(base, mix=0.75))}
    for who in ("student", "teacher"):
        view = getattr(base, who)
        for name in ("boxes", "flips", "extra"):
            array = getattr(view, name).copy()
            array.flat[-1] += 0.5
            hashes.add(draws_hash(dataclasses.replace(base, **{who: dataclasses.replace(view, **{name: array})})))
    assert len(hashes) == 8
    assert all(len(each) == 16 for each in hashes)


def test_the_hash_is_stable() -> None:
    """Stored with runs and compared between machines: if this fails, views have changed, so change it knowingly."""
    of = spec(teaching="independent", seed=1, views=ViewsSpec(mixup=0))
    assert draws_hash(draw(of, 7, IDS, EPOCHS, SIZES)) == "6d4c6a72ce87731c"
    assert draws_hash(draw(spec(seed=1), 7, IDS, EPOCHS, SIZES)) == "ab6f8e0fbc3b2f03"

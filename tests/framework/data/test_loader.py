"""Batches are functions of their step, made here or ahead; host views and evaluation views are the reference's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.data import load
from framework.data.hostviews import evaluation_view, render_view, to_range
from framework.data.loader import CANVAS_LIMIT, EvalBatches, Loader, ahead
from framework.draws.views import draw, draws_hash
from framework.errors import UserError
from framework.protocols import Array
from framework.spec import DataSpec, DistillSpec

SPEC = {
    "views": {"size": 8},
    "batch_size": 4,
    "duration": {"total_steps": 6},
    "evaluation": {"batch_size": 4},
    "seed": 3,
}


class Images:
    """Random images of given sizes."""

    name, classes, fingerprint = "images[train]", None, "0"

    def __init__(self, sizes: Sequence[tuple[int, int]], labels: bool = True) -> None:
        random = np.random.default_rng(0)
        self._images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
        self.num_examples = len(sizes)
        self.uniform = sizes[0] if len(set(sizes)) == 1 else None
        self._labels = np.arange(len(sizes), dtype=np.int32) if labels else None

    def images(self, ids: Array) -> Sequence[Array]:
        chosen = [self._images[number] for number in ids]
        return chosen if self.uniform is None else np.stack(chosen)  # type: ignore[return-value]

    def sizes(self, ids: Array) -> Array:
        return np.array([self._images[number].shape[:2] for number in ids], np.int32)

    def labels(self, ids: Array) -> Array | None:
        return None if self._labels is None else self._labels[ids]


SMALL, LARGE, VARIED = (
    Images([(12, 12)] * 10),
    Images([(CANVAS_LIMIT + 1, 40)] * 10),
    Images([(9 + n, 20 - n) for n in range(10)]),
)


def spec(**changes: object) -> DistillSpec:
    return DistillSpec.from_dict(SPEC | changes)


@pytest.mark.parametrize("source", [SMALL, VARIED], ids=["uniform", "varied"])
def test_a_batch_is_a_function_of_its_step(source: Images) -> None:
    loader = Loader(spec(), source, 6)
    in_order = list(loader.batches())
    assert len(in_order) == 6
    for step in (5, 0, 3):
        again, before = Loader(spec(), source, 6).batch(step), in_order[step]
        assert again.mix == before.mix
        for mine, theirs in zip(again.views or [again.images], before.views or [before.images], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    tail = [batch.mix for batch in loader.batches(4)]
    assert tail == [batch.mix for batch in in_order[4:]]


def test_small_equal_images_go_to_the_step_as_they_are() -> None:
    batch = Loader(spec(), SMALL, 6).batch(2)
    assert batch.images is not None
    assert batch.views is None
    assert (batch.images.shape, batch.images.dtype) == ((4, 12, 12, 3), np.uint8)
    assert batch.labels is None


@pytest.mark.parametrize("batch_size", [4, 7, 3000])
@pytest.mark.parametrize("teaching", ["funmatch", "independent"])
def test_steps_that_are_drawn_together_are_those_drawn_alone(batch_size: int, teaching: str) -> None:
    loader = Loader(spec(teaching=teaching, batch_size=batch_size), VARIED, 10**7)
    for step in (0, 1, 600, 511, 512, 292, 293, 1_990_000):
        (ids, draws), (alone, epochs) = loader.drawn(step), loader.order.batch(step)
        np.testing.assert_array_equal(ids, alone)
        assert draws_hash(draws) == draws_hash(draw(loader.spec, step, alone, epochs, VARIED.sizes(alone)))


@pytest.mark.parametrize("source", [LARGE, VARIED], ids=["large", "varied"])
@pytest.mark.parametrize("teaching", ["funmatch", "independent", "fixed"])
def test_others_are_rendered_here_from_the_same_draws(source: Images, teaching: str) -> None:
    loader = Loader(spec(teaching=teaching), source, 6)
    batch = loader.batch(1)
    assert batch.images is None
    assert batch.views is not None
    ids, epochs = loader.order.batch(1)
    draws = draw(loader.spec, 1, ids, epochs, source.sizes(ids))
    assert batch.mix == draws.mix
    assert (batch.views[0] is batch.views[1]) == (teaching == "funmatch")
    for views, drawn in zip(batch.views, (draws.student, draws.teacher), strict=True):
        assert views.dtype == np.uint8
        for image, box, flip, view in zip(source.images(ids), drawn.boxes, drawn.flips, views, strict=True):
            np.testing.assert_array_equal(view, render_view(image, box, 8, bool(flip), True))


@pytest.mark.parametrize("truncate", [True, False])
def test_whole_levels_are_sent_as_such_and_others_in_their_range(truncate: bool) -> None:
    of = spec(views={"size": 8, "truncate": truncate})
    batch, (ids, epochs) = Loader(of, VARIED, 6).batch(1), Loader(of, VARIED, 6).order.batch(1)
    draws = draw(of, 1, ids, epochs, VARIED.sizes(ids)).student
    assert batch.views is not None
    for number, box, flip, view in zip(ids, draws.boxes, draws.flips, batch.views[0], strict=True):
        made = render_view(VARIED.images(np.array([number]))[0], box, 8, bool(flip), truncate)
        expected = made if truncate else to_range(made)
        assert view.dtype == (np.uint8 if truncate else np.float32)
        np.testing.assert_array_equal(view, expected)


@pytest.mark.parametrize("source", [LARGE, VARIED], ids=["large", "varied"])
@pytest.mark.parametrize(
    ("teaching", "size", "sizes"), [("same/ic", 12, (12,)), ("ind/ic", 12, (12,)), ("same/rc", 8, ())]
)
def test_two_sizes_are_cut_by_one_box(source: Images, teaching: str, size: int, sizes: tuple[int, ...]) -> None:
    loader = Loader(spec(teaching=teaching, views={"size": 8, "teacher_size": size}), source, 6)
    views, (ids, epochs) = loader.batch(1).views, loader.order.batch(1)
    assert views is not None
    draws = draw(loader.spec, 1, ids, epochs, source.sizes(ids))
    assert [view.shape[1] for view in views] == [8, *(sizes or (8,))]
    assert (views[0] is views[1]) == (not sizes)
    for view, drawn in zip(views, (draws.student, draws.teacher), strict=True):
        for image, box, flip, one in zip(source.images(ids), drawn.boxes, drawn.flips, view, strict=True):
            expected = render_view(image, box, view.shape[1], bool(flip), True, beyond=teaching == "same/rc")
            np.testing.assert_array_equal(one, expected)


def test_several_teachers_see_each_size_once() -> None:
    teachers = [{"name": "a:b"}] * 3
    loader = Loader(spec(teachers=teachers, views={"size": 8, "teacher_size": [12, 8, 12]}), VARIED, 6)
    views = loader.batch(0).views
    assert views is not None
    assert [view.shape[1] for view in views] == [8, 12, 8, 12]
    assert views[0] is views[2]
    assert views[1] is views[3]


@pytest.mark.parametrize("source", [SMALL, VARIED], ids=["uniform", "varied"])
def test_targets_go_with_their_examples(source: Images) -> None:
    targets = [np.random.default_rng(number).normal(size=(10, 3)).astype(np.float32) for number in range(2)]
    of = spec(teaching="fix/ic_ens", teachers=[{"name": "a:b"}] * 2)
    loader = Loader(of, source, 6, targets)
    batch, (ids, _) = loader.batch(2), loader.order.batch(2)
    assert batch.targets is not None
    for found, expected in zip(batch.targets, targets, strict=True):
        np.testing.assert_array_equal(found, expected[ids])
    assert Loader(of, source, 6).batch(2).targets is None


def test_encoded_images_of_any_size_are_cut_as_their_pixels_are(tmp_path: Path) -> None:
    """From files of several sizes and kinds to views, for training and for evaluation."""
    for number in range(10):
        (tmp_path / "pictures" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(VARIED.images(np.array([number]))[0])
        kind = ("png", "webp")[number % 2]
        image.save(tmp_path / "pictures" / "ab"[number % 2] / f"{number}.{kind}", lossless=True)
    source = load(DataSpec(name=str(tmp_path / "pictures"), validation=None, test=None), tmp_path / "cache").train
    images = source.images(np.arange(10))
    assert {image.tobytes() for image in images} == {image.tobytes() for image in VARIED.images(np.arange(10))}
    loader = Loader(spec(teaching="same/rc"), source, 6)
    batch, (ids, epochs) = loader.batch(1), loader.order.batch(1)
    draws = draw(loader.spec, 1, ids, epochs, source.sizes(ids)).student
    assert batch.views is not None
    for number, box, flip, view in zip(ids, draws.boxes, draws.flips, batch.views[0], strict=True):
        np.testing.assert_array_equal(view, render_view(images[number], box, 8, bool(flip), True, beyond=True))
    (measured,) = EvalBatches(spec(evaluation={"resize": 9, "batch_size": 10}), source)
    for image, view in zip(images, measured.views, strict=True):
        np.testing.assert_array_equal(view, to_range(evaluation_view(image, 9, 8, 8)))


def test_labels_come_only_where_the_loss_needs_them() -> None:
    loader = Loader(spec(loss={"task_weight": 0.5}), SMALL, 6)
    ids, _ = loader.order.batch(3)
    np.testing.assert_array_equal(loader.batch(3).labels, ids)


def test_to_range() -> None:
    found = to_range(np.array([0, 127.5, 255], np.float32))
    np.testing.assert_array_equal(found, np.array([-1, 0, 1], np.float32))
    assert found.dtype == np.float32


def test_evaluation_sees_every_example_once_and_pads_the_last_batch() -> None:
    batches = list(EvalBatches(spec(), VARIED))
    assert [batch.views.shape for batch in batches] == [(4, 8, 8, 3)] * 3
    assert [batch.mask.sum() for batch in batches] == [4, 4, 2]
    labels, mask = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("labels", "mask"))
    np.testing.assert_array_equal(labels[mask > 0], np.arange(10))
    assert (labels[mask == 0] == -1).all()
    views = np.concatenate([batch.views for batch in batches])[mask > 0]
    for image, view in zip(VARIED.images(np.arange(10)), views, strict=True):
        np.testing.assert_array_equal(view, to_range(evaluation_view(image, None, None, 8)))


@pytest.mark.parametrize(("resize", "resizes"), [(None, (None, None)), (10, (10, 15))])
def test_a_teacher_is_evaluated_on_the_same_part_at_its_size(
    resize: int | None, resizes: tuple[int | None, ...]
) -> None:
    of = spec(views={"size": 8, "teacher_size": 12}, evaluation={"batch_size": 4, "resize": resize})
    batches = list(EvalBatches(of, VARIED))
    assert all(len(batch.teacher_views) == 1 for batch in batches)
    views = [[batch.views for batch in batches], [batch.teacher_views[0] for batch in batches]]
    for size, side, found in zip((8, 12), resizes, views, strict=True):
        for image, view in zip(VARIED.images(np.arange(10)), np.concatenate(found), strict=False):
            expected = evaluation_view(image, side, size if side else None, size)
            np.testing.assert_array_equal(view, to_range(expected))
    assert not any(batch.teacher_views for batch in EvalBatches(spec(), VARIED))


def test_a_subset_is_spread_over_the_split() -> None:
    (batch,) = EvalBatches(spec(), SMALL, limit=3)
    assert batch.labels.tolist() == [0, 3, 6]
    assert batch.mask.tolist() == [1, 1, 1]
    assert EvalBatches(spec(), SMALL, limit=100).ids.tolist() == list(range(10))


def test_no_labels_are_minus_one() -> None:
    batches = EvalBatches(spec(), Images([(8, 8)] * 5, labels=False))
    assert all((batch.labels == -1).all() for batch in batches)


def test_evaluation_views_are_made_once_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = EvalBatches(spec(), SMALL)
    assert [id(batch) for batch in kept] == [id(batch) for batch in kept]
    monkeypatch.setattr(EvalBatches, "_KEPT_BYTES", 0)
    fresh = EvalBatches(spec(), SMALL)
    first, second = list(fresh), list(fresh)
    assert first[0] is not second[0]
    np.testing.assert_array_equal(first[2].views, second[2].views)


def test_a_crop_larger_than_the_image_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"evaluation\.resize = 6"):
        EvalBatches(spec(evaluation={"resize": 6}), SMALL)


@pytest.mark.parametrize("together", [1, 4])
def test_ahead_keeps_the_order_and_stays_a_few_ahead(together: int) -> None:
    made: list[int] = []

    def make(item: int) -> int:
        made.append(item)
        return item

    items = ahead(make, range(100), depth=3, together=together)
    assert [next(items) for _ in range(5)] == list(range(5))
    items.close()  # type: ignore[attr-defined]
    assert len(made) <= 5 + 4 * together
    assert made == list(range(len(made)))
    assert list(ahead(make, range(7), together=together)) == list(range(7))
    assert list(ahead(make, range(0), together=together)) == []


def test_small_batches_are_handed_over_together() -> None:
    loader = Loader(spec(), SMALL, 50)
    asked: list[int] = []
    make = loader.batch
    loader.batch = lambda step: asked.append(step) or make(step)  # type: ignore[func-returns-value, method-assign]
    batches = loader.batches(3, 47)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert asked == list(range(3, 47))
    assert len(list(loader.batches(3, 47))) == 44


def test_ahead_works_while_the_caller_does() -> None:
    second = threading.Event()
    items = ahead(lambda item: second.set() if item == 1 else None, range(3))
    next(items)
    assert second.wait(10)


@pytest.mark.parametrize("together", [1, 2, 9])
def test_ahead_raises_in_place_and_ends_its_thread(together: int) -> None:
    before = threading.active_count()
    items = ahead(lambda item: 1 // (2 - item), range(9), together=together)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert threading.active_count() == before

"""Which views of a batch student and teachers see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from framework.data.hostviews import render_view
from framework.protocols import Batch, Draws
from tests.framework.tasks import IMAGES, MODEL, batch_of, task_of, views_of


@pytest.mark.parametrize(("teaching", "shared"), [("funmatch", True), ("consistent", True), ("independent", False)])
def test_shared_views_are_computed_once(teaching: str, shared: bool) -> None:
    task = task_of(teaching=teaching)
    inputs = {name: ops.convert_to_tensor(array) for name, array in task.inputs(batch_of(task)).items()}
    student, teacher = task.views(inputs)
    assert (student is teacher) == shared
    assert tuple(student.shape) == (4, 6, 6, 3)


@pytest.mark.parametrize("rendered", [False, True])
@pytest.mark.parametrize("sizes", [9, [9, 6]])
def test_a_shared_view_of_two_sizes_is_one_crop(sizes: Any, rendered: bool) -> None:
    """Boxes, flips, added augmentations, partners and factor are the student's: only the number of pixels differs."""
    options = {"flip": True, "augmentations": ["brightness", "grayscale"]}
    task = task_of(teachers=[MODEL, MODEL], views={"size": 6, "teacher_size": sizes} | options)
    batch = batch_of(task)
    alone = {size: views_of(task_of(views={"size": size} | options), batch)[0] for size in (6, 9)}
    if rendered:
        bare = {size: views_of(task_of(teaching="same/ic", views={"size": size}), batch)[0] for size in (6, 9)}
        views = (bare[6], *(bare[size] for size in task.spec.teacher_sizes))
        batch = Batch(views=views, draws=batch.draws, mix=batch.draws.mix)
    student, *teachers = views_of(task, batch)
    np.testing.assert_allclose(student, alone[6], rtol=0, atol=1e-6)
    for teacher, size in zip(teachers, task.spec.teacher_sizes, strict=True):
        np.testing.assert_allclose(teacher, alone[size], rtol=0, atol=1e-6)


def test_an_independent_view_of_another_size_has_its_own_crop() -> None:
    options = {"size": 6, "teacher_size": 9}
    task = task_of(teaching="ind/ic", views=options)
    batch = batch_of(task)
    teachers_own = Draws(batch.draws.teacher, batch.draws.teacher, 1.0)
    expected = views_of(task_of(teaching="same/ic", views={"size": 9}), batch_of(task, draws=teachers_own))[0]
    np.testing.assert_allclose(views_of(task, batch)[1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("teaching", ["same/rc", "fix/cc"])
def test_windows_of_the_resized_image_are_the_host_s(teaching: str) -> None:
    """Enlarged, where pixels beyond the window count."""
    task = task_of(teaching=teaching, views={"size": 24, "teacher_size": 36, "truncate": False})
    batch = batch_of(task)
    found, sizes, draws = views_of(task, batch), (24, 36), (batch.draws.student, batch.draws.teacher)
    for view, size, drawn in zip(found, sizes, draws, strict=True):
        for place, image in enumerate(IMAGES):
            flip = bool(drawn.flips[place])
            expected = render_view(image, drawn.boxes[place], size, flip, truncate=False, beyond=True)
            np.testing.assert_allclose((view[place] + 1) * 127.5, expected, rtol=0, atol=2e-3)


def test_only_mixing_teachings_mix() -> None:
    task = task_of(teaching="consistent", views={"size": 6, "flip": False})
    mixing = task_of(teaching="funmatch", views={"size": 6, "flip": False})
    batch = batch_of(mixing)
    [plain, _], [mixed, _] = views_of(task, batch), views_of(mixing, batch)
    factor = batch.draws.mix
    assert 0.5 < factor < 0.99
    np.testing.assert_allclose(mixed, factor * plain + (1 - factor) * np.roll(plain, 1, axis=0), rtol=0, atol=1e-6)


def test_rendered_views_pass_as_they_are() -> None:
    task = task_of(teaching="independent")
    student, teacher = np.random.default_rng(1).uniform(-1, 1, (2, 4, 6, 6, 3)).astype(np.float32)
    found = views_of(task, Batch(views=(student, teacher)))
    np.testing.assert_array_equal(found[0], student)
    np.testing.assert_array_equal(found[1], teacher)
    shared = views_of(task, Batch(views=(student, student)))
    np.testing.assert_array_equal(shared[1], student)


def test_each_teacher_may_be_given_its_own_view() -> None:
    task = task_of(teaching="independent", teachers=[MODEL] * 4)
    student, one, other = np.random.default_rng(1).uniform(-1, 1, (3, 4, 6, 6, 3)).astype(np.float32)
    batch = Batch(views=(student, one, other, student, one))
    assert {name for name in task.shown(batch) if name.startswith("view")} == {
        "view.student",
        "view.teacher0+3",
        "view.teacher1",
    }
    for found, expected in zip(views_of(task, batch), batch.views or (), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="2 teachers' views for 4 teachers"):
        task.shown(Batch(views=(student, one, other)))


@pytest.mark.parametrize("rendered", [False, True])
@pytest.mark.parametrize("teaching", ["ind/ic", "ind/rc", "fixed", "fix/cc"])
def test_views_of_their_own_are_mixed_by_one_factor(teaching: str, rendered: bool) -> None:
    """As the authors' trainer mixes all views of a batch."""
    task, mixing = task_of(teaching=teaching), task_of(teaching=teaching, views={"size": 6, "mixup": 0.5})
    batch = batch_of(mixing)
    factor = batch.draws.mix
    assert 0.5 < factor < 0.99
    plain = views_of(task, batch)
    assert not np.allclose(*plain)
    given = Batch(views=tuple(plain), mix=factor) if rendered else batch
    for found, view in zip(views_of(mixing, given), plain, strict=True):
        np.testing.assert_allclose(found, factor * view + (1 - factor) * np.roll(view, 1, axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("teaching", ["fixed", "independent", "funmatch"])
def test_rendered_views_are_augmented_as_images_are(teaching: str) -> None:
    """And before they are mixed."""
    augmented, bare = {"size": 6, "augmentations": ["brightness", "grayscale"]}, {"size": 6}
    task = task_of(teaching=teaching, views=augmented)
    batch = batch_of(task)
    unmixed = task_of(teaching="consistent" if batch.draws.shared else teaching, views=bare)
    student, teacher = views_of(unmixed, batch)
    ready = (student, student if batch.draws.shared else teacher)
    from_images = views_of(task, batch)
    assert not np.allclose(from_images[0], views_of(task_of(teaching=teaching, views=bare), batch)[0])
    for one, other in zip(
        views_of(task, Batch(views=ready, draws=batch.draws, mix=batch.draws.mix)), from_images, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_the_constant_view_is_the_image_as_it_is() -> None:
    options = {"size": 6, "augmentations": ["brightness", "grayscale"]}
    task, plain = task_of(teaching="fixed", views=options), task_of(teaching="fixed")
    student, teacher = views_of(task, batch_of(task))
    bare_student, bare_teacher = views_of(plain, batch_of(plain))
    np.testing.assert_array_equal(teacher, bare_teacher)
    assert not np.allclose(student, bare_student)


def test_each_teacher_gets_its_own_range() -> None:
    task = task_of(teachers=[MODEL, MODEL | {"normalize": "unit"}])
    view = ops.convert_to_tensor(np.full((1, 6, 6, 3), 0.5, np.float32))
    plain, unit = (ops.convert_to_numpy(each) for each in task.teacher_views([view, view]))
    assert (plain == 0.5).all()
    assert (unit == 0.75).all()

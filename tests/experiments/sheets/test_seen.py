"""What was seen: the views of every teaching against a rendering on the host, and whether the two saw the same."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.sheets.seen import Step, digest, look, verdict
from framework.data import load
from framework.data.hostviews import render_view
from framework.data.loader import to_range
from framework.protocols import Array, Draws, Source, ViewDraws
from framework.spec import DistillSpec

pytestmark = pytest.mark.backend

SPEC = DistillSpec.from_dict(
    {
        "data": {"name": "digits"},
        "views": {"size": 8, "area": [0.2, 1.0], "target_crops": 2},
        "batch_size": 32,
        "precision": "float64",
        "seed": 3,
    }
)
TWO = ({"name": "digits"}, {"name": "digits"})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return load(SPEC.data, tmp_path_factory.mktemp("cache")).train


@pytest.fixture
def seen(backend: str, source: Source) -> Any:
    """`seen(spec, steps)`: what was seen, in float64."""
    import backends
    from backends.base import Settings

    loaded = backends.load(backend)
    loaded.configure(Settings("cpu", 1, "float64"))
    yield lambda spec, *steps: list(look(spec, source, loaded, steps))
    loaded.configure(Settings("cpu", 1, "float32"))


def changed(**values: Any) -> DistillSpec:
    return DistillSpec.from_dict({**SPEC.to_dict(), **values})


def rendered(source: Source, step: Step, draws: ViewDraws, size: int, beyond: bool = False) -> Array:
    """The same on the host: crop, flip, range, then each with the one before it."""
    images = source.images(step.ids)
    views = np.stack(
        [
            to_range(render_view(image, draws.boxes[place], size, bool(draws.flips[place]), False, beyond))
            for place, image in enumerate(images)
        ]
    ).astype(np.float64)
    return step.draws.mix * views + (1 - step.draws.mix) * np.stack([views[step.partner(p)] for p in range(len(views))])


@pytest.mark.parametrize(
    ("teaching", "same"),
    [
        ("funmatch", "the same pixels in 32 of 32 pairs"),
        ("consistent", "the same pixels in 32 of 32 pairs"),
        ("fix/rs", "the same pixels in 32 of 32 pairs"),
        ("independent", "the same pixels in "),
        ("fixed", "the same pixels in "),
        ("fix/cc", "the same pixels in "),
        ("fix/ic_ens", "the teachers' targets are means over 2 other crops"),
    ],
)
def test_views_are_those_of_the_draws(teaching: str, same: str, seen: Any, source: Source) -> None:
    spec = changed(teaching=teaching)
    for step in seen(spec, 0, 7):
        fine, told = verdict(spec, step)
        assert fine
        assert told.startswith(same)
        beyond = teaching == "fix/cc"
        drawn = [step.draws.student, step.draws.teacher][: len(step.views)]
        for views, draws in zip(step.views, drawn, strict=True):
            # The host's resampling is in float32.
            np.testing.assert_allclose(views, rendered(source, step, draws, 8, beyond), rtol=0, atol=2e-5)
        if teaching in ("independent", "fixed", "fix/cc"):
            found = step.same(0)
            assert found is not None
            assert found.sum() < 8


def test_several_teachers_see_the_crops_at_their_own_sizes(seen: Any, source: Source) -> None:
    spec = changed(teachers=TWO, teaching="consistent", views={**SPEC.to_dict()["views"], "teacher_size": [8, 12]})
    (step,) = seen(spec, 2)
    assert [views.shape[1] for views in step.views] == [8, 8, 12]
    assert step.same(0).all()
    assert step.same(1) is None
    assert verdict(spec, step) == (True, "the same pixels in 32 of 32 pairs")
    np.testing.assert_allclose(step.views[2], rendered(source, step, step.draws.student, 12), rtol=0, atol=2e-5)


def test_labels_are_seen_by_the_student_alone(seen: Any) -> None:
    spec = changed(teaching="labels", teachers=(), loss={"task_weight": 1.0})
    (step,) = seen(spec, 1)
    assert len(step.views) == 1
    assert verdict(spec, step) == (True, "there is no teacher")


def a_step(student: Array, teacher: Array) -> Step:
    count = len(student)
    draws = ViewDraws(np.zeros((count, 4)), np.zeros(count), np.zeros((count, 0, 8)))
    return Step(0, np.arange(count), np.zeros(count, int), Draws(draws, draws, 1.0), (student, teacher))


def test_what_a_teaching_does_not_promise_is_a_fault() -> None:
    student = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    other = student.copy()
    other[1, 4, 4, 2] = np.nextafter(other[1, 4, 4, 2], 2)
    alike, unlike = a_step(student, student.copy()), a_step(student, other)
    consistent, independent = changed(teaching="consistent"), changed(teaching="independent")
    assert verdict(consistent, alike) == (True, "the same pixels in 3 of 3 pairs")
    told = "the same pixels in 2 of 3 pairs, which is not what teaching=consistent means"
    assert verdict(consistent, unlike) == (False, told)
    assert verdict(independent, unlike) == (True, "the same pixels in 2 of 3 pairs")
    assert not verdict(independent, alike)[0]


def test_the_sha256_is_of_all_numbers() -> None:
    view = np.random.default_rng(0).uniform(-1, 1, (4, 4, 3)).astype(np.float32)
    assert digest(view) == hashlib.sha256(view.astype("<f4").tobytes()).hexdigest()
    other = view.copy()
    other[3, 3, 2] = np.nextafter(other[3, 3, 2], np.float32(2))
    assert digest(other) != digest(view)
    zero = np.zeros((2, 2, 3), np.float32)
    assert digest(-zero) == digest(zero)


def test_steps_do_not_depend_on_each_other(seen: Any) -> None:
    spec = changed(teaching="independent")
    alone, others = seen(spec, 5), seen(spec, 0, 5)
    assert alone[0].digests() == others[1].digests()
    assert alone[0].draws_hash == others[1].draws_hash
    assert seen(replace(spec, seed=4), 5)[0].draws_hash != alone[0].draws_hash


def test_large_images_are_rendered_on_the_host(seen: Any, backend: str, tmp_path: Path) -> None:
    import backends

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (100 + number, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    spec = changed(data={"name": str(folder), "labels": None, "validation": None, "test": None}, batch_size=4)
    photos = load(spec.data, tmp_path / "cache").train
    (step,) = look(spec, photos, backends.load(backend), [1])
    np.testing.assert_allclose(step.views[0], rendered(photos, step, step.draws.student, 8), rtol=0, atol=1e-6)
    assert verdict(spec, step)[0]

"""The sheet shows what was seen: its pictures, crops, partners and words are the step's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from experiments.sheets.drawing import Sheet, _Page, draw
from experiments.sheets.seen import Step, digest
from framework.errors import UserError
from framework.protocols import Array, Draws, ViewDraws
from framework.spec import DistillSpec

pytestmark = pytest.mark.backend

RNG = np.random.default_rng(0)


class Photos:
    """Ten images of 20 x 30 pixels in two classes."""

    name, num_examples, classes, uniform, fingerprint = "photos", 10, ("cat", "dog"), (20, 30), "0"
    pixels = RNG.integers(0, 256, (10, 20, 30, 3), dtype=np.uint8)

    def images(self, ids: Array) -> Array:
        return self.pixels[ids]

    def sizes(self, ids: Array) -> Array:
        return np.tile([20, 30], (len(ids), 1))

    def labels(self, ids: Array) -> Array:
        return (ids % 2).astype(np.int32)


def draws(shift: int = 0) -> ViewDraws:
    boxes = np.array([[place + shift, 2, 10, 12] for place in range(3)], np.float32)
    return ViewDraws(boxes, np.array([1, 0, 0], np.float32), np.zeros((3, 0, 8), np.float32))


def sheet(teaching: str = "funmatch", teachers: int = 1) -> Sheet:
    spec = DistillSpec.from_dict(
        {
            "data": {"name": "photos"},
            "teachers": [{"name": "digits"}] * teachers,
            "teaching": teaching,
            "views": {"size": 8},
            "batch_size": 3,
        }
    )
    own = draws()
    student = RNG.uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    shared = teaching in ("funmatch", "consistent")
    others = [student.copy() if shared else -student for _ in range(teachers)]
    ids, mix = np.array([4, 7, 9]), 0.75 if teaching == "funmatch" else 1.0
    step = Step(5, ids, np.array([1, 1, 2]), Draws(own, own if shared else draws(4), mix), (student, *others))
    return Sheet(spec, Photos(), [step], 2)


def page(of: Sheet) -> Figure:
    figure = Figure()
    _Page(figure, 10, 10).fill(of, 3)
    return figure


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def test_pictures_are_the_images_and_the_views() -> None:
    of = sheet()
    found = [axes.images[0].get_array() for axes in page(of).axes]
    step = of.steps[0]
    views = [np.clip(np.rint((views + 1) * 127.5), 0, 255) for views in step.views]
    expected = [Photos.pixels[4], Photos.pixels[9], views[0][0], views[1][0]]
    expected += [Photos.pixels[7], Photos.pixels[4], views[0][1], views[1][1]]
    assert len(found) == len(expected)
    for picture, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(picture, wanted)


def test_crops_are_drawn_where_they_were_cut() -> None:
    for teaching, shift in (("funmatch", 0), ("independent", 4)):
        figure = page(sheet(teaching))
        first = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
        boxes = [(each.get_y(), each.get_x(), each.get_height(), each.get_width()) for each in first]
        assert boxes == [(0, 2, 10, 12), (shift, 2, 10, 12)]
        assert figure.axes[0].images[0].get_extent() == [0, 30, 20, 0]


def test_the_words_say_partner_share_crop_and_digest() -> None:
    of = sheet()
    told = words(page(of))
    assert "step 5, epoch 1, mixing factor 0.750: the same pixels in 3 of 3 pairs" in told
    assert "image 4 (cat)\n75% of it, 25% of image 9 (dog)\ncrop 12 x 10 px at (2, 0), mirrored\n" in told
    assert "image 7 (dog)\n75% of it, 25% of image 4 (cat)\ncrop 12 x 10 px at (2, 1)\n" in told
    assert told.count("teacher: the same pixels") == 2
    assert told.count(f"SHA-256 {digest(of.steps[0].views[0][0])[:24]}... student, teacher") == 1


def test_other_pixels_are_called_so() -> None:
    of = sheet("independent", teachers=2)
    told = words(page(of))
    assert "mixed with" not in told
    assert "teacher's crop 12 x 10 px at (2, 4), mirrored" in told
    assert told.count("teacher 1: other pixels") == told.count("teacher 2: other pixels") == 2
    assert told.count("SHA-256") == 4


def test_files_of_each_kind_are_written_and_others_refused(tmp_path: Path) -> None:
    for suffix in ("png", "svg", "pdf"):
        draw(sheet(), tmp_path / f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").stat().st_size > 1000
    with Image.open(tmp_path / "a.png") as picture:
        # White whatever page it lies on.
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
    for name in ("a.xyz", "none/a.png"):
        with pytest.raises(UserError, match=name):
            draw(sheet(), tmp_path / name)

"""Images measured when they are drawn: the same images, sizes and labels as those that are measured beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from framework.data import Splits
from framework.data.source import ImageSource
from framework.errors import UserError

Read = Callable[..., Splits]
COUNT = 12


@pytest.fixture
def folder(write_images: Callable[..., Path], paint: Callable[..., np.ndarray]) -> Path:
    return write_images({f"{'ab'[i % 2]}/{i:02}.png": paint(i, 3 + i, 5 + i % 4) for i in range(COUNT)})


@pytest.fixture
def drawn(read: Read, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ImageSource]:
    """Opens the training images without a look at them."""

    def opened(folder: Path, **spec: object) -> ImageSource:
        with monkeypatch.context() as few:
            few.setattr("framework.data.decoded.MANY", 0)
            source = read(folder, 0, validation=None, test=None, **spec).train
        assert isinstance(source, ImageSource)
        return source

    return opened


def test_they_are_what_they_are_when_measured_beforehand(
    folder: Path, read: Read, drawn: Callable[..., ImageSource]
) -> None:
    before, now = read(folder, 0, validation=None, test=None).train, drawn(folder)
    assert now.fingerprint == before.fingerprint
    assert now.uniform is None
    for ids in np.random.default_rng(0).integers(0, COUNT, (5, 4)):
        np.testing.assert_array_equal(now.sizes(ids), before.sizes(ids))
        np.testing.assert_array_equal(now.labels(ids), before.labels(ids))
        for mine, other in zip(now.images(ids), before.images(ids), strict=True):
            np.testing.assert_array_equal(mine, other)


def test_only_those_that_are_drawn_are_read(
    folder: Path, drawn: Callable[..., ImageSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = drawn(folder)
    read: list[int] = []
    whole = source._rows.read
    monkeypatch.setattr(source._rows, "read", lambda numbers: read.extend(numbers.tolist()) or whole(numbers))
    source.sizes(np.array([7, 3, 7]))
    source.sizes(np.array([3, 5]))
    assert read == [3, 7, 5]
    source.labels(np.arange(COUNT))
    assert len(read) == 3


def test_a_bad_image_is_told_when_it_is_drawn(folder: Path, drawn: Callable[..., ImageSource]) -> None:
    (folder / "a/04.png").write_bytes(b"nothing")
    source = drawn(folder)
    bad = sorted(path.name for path in folder.rglob("*.png") if path.parent.name == "a").index("04.png")
    source.sizes(np.delete(np.arange(COUNT), bad))
    with pytest.raises(UserError, match=r"row 2, column 'image': not an image .*data.on_bad_image=skip"):
        source.sizes(np.array([0, bad]))


@pytest.mark.parametrize("order", [np.arange(COUNT), np.arange(COUNT)[::-1]])
def test_skip_takes_the_next_good_image_in_whatever_order_they_are_drawn(
    folder: Path,
    read: Read,
    drawn: Callable[..., ImageSource],
    order: np.ndarray,
) -> None:
    last = folder / "b/11.png"
    last.write_bytes(last.read_bytes()[:60])  # its header is whole
    before, now = (
        read(folder, 0, validation=None, test=None, on_bad_image="skip").train,
        drawn(folder, on_bad_image="skip"),
    )
    for number in order:
        ids = np.array([number])
        np.testing.assert_array_equal(now.sizes(ids), before.sizes(ids))
        np.testing.assert_array_equal(now.images(ids)[0], before.images(ids)[0])
        np.testing.assert_array_equal(now.labels(ids), before.labels(ids))


def test_skip_stops_above_one_in_a_thousand(folder: Path, drawn: Callable[..., ImageSource]) -> None:
    for name in ("a/02.png", "b/05.png"):
        (folder / name).write_bytes(b"nothing")
    source = drawn(folder, on_bad_image="skip")
    with pytest.raises(UserError, match="2 of 12 images are bad, more than the 1 allowed"):
        source.sizes(np.arange(COUNT))

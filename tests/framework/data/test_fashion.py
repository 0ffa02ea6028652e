"""Fashion-MNIST from a system package: the files are read as they are laid out, and found before the hub is asked."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from framework.data import fashion, load, offline
from framework.data.counts import count
from framework.data.origins import is_hub
from framework.errors import UserError
from framework.spec import DataSpec

SPEC = DataSpec(name=fashion.HUB)


def idx(values: np.ndarray) -> bytes:
    """Bytes in the IDX layout, gzipped."""
    return gzip.compress(bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.tobytes())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of 200 and 30 random images in place of the real one's 70,000."""
    sizes = {"train": 200, "test": 30}
    monkeypatch.setattr(fashion, "FOLDER", tmp_path / "package")
    monkeypatch.setattr(fashion, "SIZES", sizes)
    known = offline.INSTALLED[fashion.HUB]
    made = offline.OfflineSet(known.generate, known.classes, known.side, sizes, version=1)
    monkeypatch.setitem(offline.INSTALLED, fashion.HUB, made)
    (tmp_path / "package").mkdir()
    rng = np.random.default_rng(0)
    for prefix, size in (("train", 200), ("t10k", 30)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = (np.arange(size) % 10).astype(np.uint8)
        (tmp_path / "package" / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (tmp_path / "package" / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return tmp_path / "package"


def test_the_packages_images_are_the_data(package: Path, tmp_path: Path) -> None:
    splits = load(SPEC, tmp_path / "cache")
    assert splits.validation is not None
    assert splits.test is not None
    assert [each.num_examples for each in (splits.train, splits.validation, splits.test)] == [180, 20, 30]
    assert splits.classes == fashion.CLASSES
    raw = gzip.decompress((package / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.asarray(splits.test.images(np.arange(30)))
    assert images[..., 0].tobytes() == raw[16:]
    assert (images[..., 0] == images[..., 2]).all()
    assert splits.test.labels(np.arange(12)).tolist() == [*range(10), 0, 1]  # type: ignore[union-attr]
    assert np.bincount(splits.train.labels(np.arange(180))).tolist() == [18] * 10  # type: ignore[arg-type]


def test_it_goes_before_the_hub_and_is_counted_without_decoding(package: Path, tmp_path: Path) -> None:
    assert not is_hub(fashion.HUB)
    counts = count(SPEC, tmp_path / "cache")
    assert (counts.train, counts.validation, counts.test, counts.num_classes, counts.side) == (180, 20, 30, 10, 28)
    assert not (tmp_path / "cache").exists()
    (package / "t10k-labels-idx1-ubyte.gz").unlink()
    assert is_hub(fashion.HUB)
    assert count(SPEC, tmp_path / "cache").train == 54_000


@pytest.mark.parametrize(
    "content",
    [b"none", gzip.compress(b"none"), idx(np.zeros((9, 28, 28), np.uint8))],
    ids=["no gzip", "no idx", "cut short"],  # the bytes themselves hold the time of day
)
def test_a_damaged_file_is_named(package: Path, tmp_path: Path, content: bytes) -> None:
    (package / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz(: expected an IDX file| can't be read)"):
        load(SPEC, tmp_path / "cache")


def test_where_it_is_nowhere_both_ways_are_said(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "huggingface")
    (package / "train-images-idx3-ubyte.gz").unlink()
    both = "the hub can't be reached .HF_HUB_OFFLINE is set.: go online once, or apt-get install dataset-fashion-mnist"
    with pytest.raises(UserError, match=both) as raised:
        load(SPEC, tmp_path / "cache")
    assert len(str(raised.value).splitlines()) == 1


def test_the_installed_files_are_the_original() -> None:
    if not fashion.is_here():
        pytest.skip(f"{fashion.PACKAGE} is not installed")
    assert offline.glyphs.digest(fashion.generate()) == fashion.SHA256

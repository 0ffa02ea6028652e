"""Small data sets of every kind, written into the test's own folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.data import Splits, load
from framework.spec import DataSpec


def png(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def picture(number: int, height: int = 6, width: int = 6) -> np.ndarray:
    """A uint8 image that no other number gives."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return png


@pytest.fixture(scope="session")
def paint() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture(scope="session")
def offline_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the sets that come with the project: they are made once a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Write {"cats/0.png": bytes or uint8 image} into a folder and return it."""

    def write(files: Mapping[str, bytes | np.ndarray], folder: str = "pictures") -> Path:
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else png(content))
        return tmp_path / folder

    return write


@pytest.fixture
def write(write_images: Callable[..., Path], paint: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write a picture for each path, no two alike; other suffixes than .png hold a PNG too."""

    def made(*paths: str, folder: str = "pictures") -> Path:
        return write_images({path: paint(number) for number, path in enumerate(paths)}, folder)

    return made


@pytest.fixture
def two_classes(write_images: Callable[..., Path]) -> Path:
    """A folder of 10 cats and 10 dogs without split folders."""
    return write_images(
        {f"{kind}/{i}.png": picture(100 * c + i) for c, kind in enumerate(("cat", "dog")) for i in range(10)}
    )


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write columns into a parquet file; `features` adds Hugging Face's types to it."""

    def write(columns: Mapping[str, list], name: str = "data.parquet", features: object = None) -> Path:
        import datasets

        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if features is not None:
            datasets.Dataset.from_dict(dict(columns), features).to_parquet(str(tmp_path / name))
        else:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table(dict(columns)), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def encoded_rows() -> Callable[..., list[dict]]:
    def make(count: int, first: int = 0, **size: int) -> list[dict]:
        return [{"bytes": png(picture(first + i, **size)), "path": None} for i in range(count)]

    return make


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Splits]:
    """Load a data set through the test's own cache, with the options of `DataSpec`."""

    def load_it(name: object, decoded_limit: int = 2**30, **options: object) -> Splits:
        return load(DataSpec(name=str(name), **options), tmp_path / "cache", decoded_limit)

    return load_it

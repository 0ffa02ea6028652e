"""Data of ImageNet's size: `python -m tests.framework.data.many --rows 1280000`; what it takes to the first batch.

A few photographs of 500 x 375 px, made up, stand for all: by links in a folder for each of 1,000 classes, or, smaller,
in the shards of parquet files (`--parquet`).
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from framework.data.loader import Loader
from framework.data.resolve import load
from framework.spec import DataSpec, DistillSpec

CLASSES, DISTINCT, SHARDS = 1000, 40, 16


def photograph(number: int, shrink: int = 1) -> bytes:
    """A JPEG of one of four shapes."""
    height, width = [(375, 500), (500, 375), (333, 500), (500, 500)][number % 4]
    small = np.random.default_rng(number).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(small).resize((width // shrink, height // shrink)).save(written, "JPEG", quality=93)
    return written.getvalue()


def linked(root: Path, rows: int) -> Path:
    """`data/train/CLASS/N.JPEG`, each a link to one of the photographs."""
    for number in range(DISTINCT):
        (root / f"{number}.jpg").write_bytes(photograph(number))
    for label in range(CLASSES):
        folder = root / "data" / "train" / f"n{label:05d}"
        folder.mkdir(parents=True)
        for row in range(label, rows, CLASSES):
            os.link(root / f"{row % DISTINCT}.jpg", folder / f"{row}.JPEG")
    return root / "data"


def sharded(root: Path, rows: int) -> Path:
    """`data/train-N.parquet`, with images of a twelfth of the side."""
    import pyarrow as pa
    from pyarrow import parquet

    (root / "data").mkdir()
    kept = [{"bytes": photograph(number, 12), "path": f"{number}.jpg"} for number in range(DISTINCT)]
    for shard in range(SHARDS):
        ids = np.arange(shard * rows // SHARDS, (shard + 1) * rows // SHARDS)
        table = pa.table({"image": [kept[row % DISTINCT] for row in ids], "label": ids % CLASSES})
        parquet.write_table(table, root / "data" / f"train-{shard:05d}-of-{SHARDS:05d}.parquet")
    return root / "data"


def measured(data: Path, cache: Path) -> None:
    """Load, and draw two batches."""
    began = time.perf_counter()
    splits = load(DataSpec(name=str(data), validation=None, test=None), cache)
    print(f"loaded in {time.perf_counter() - began:.1f} s: {'; '.join(splits.notes)}")
    spec = DistillSpec.from_dict(
        {"data": {"name": str(data)}, "views": {"size": 224}, "batch_size": 256, "duration": {"total_epochs": 1}}
    )
    loader = Loader(spec, splits.train, 1000)
    for which in range(2):
        began = time.perf_counter()
        loader.batch(which)
        print(f"batch {which} of 256 in {time.perf_counter() - began:.2f} s")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB of memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_280_000)
    parser.add_argument("--parquet", action="store_true")
    found = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        data = (sharded if found.parquet else linked)(root, found.rows)
        for again in ("first", "again"):
            print(f"{again}, {found.rows} images")
            measured(data, root / "cache")


if __name__ == "__main__":
    main()

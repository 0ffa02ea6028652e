"""Images per second of a loader alone, ours and others', from the same JPEG files or the same pixels in memory."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framework import data
from framework.data.loader import Loader
from framework.data.resolve import DECODED_LIMIT
from framework.data.threads import num_threads
from framework.spec import DataSpec, DistillSpec

OURS = "patient-teachers"
PEERS = (OURS, "torch DataLoader", "tf.data", "grain")
BATCH = 32


@dataclass(frozen=True)
class Mode:
    """What is loaded.

    Attributes:
        sides: height and width of the images in pixels.
        view: side of the views.
        cached: whether the pixels are in memory; else they are decoded each time.
    """

    sides: tuple[int, int]
    view: int
    cached: bool


# Crops of small images are made in the step itself: our loader hands over the pixels and where to cut.
MODES = {
    "jpeg": Mode((375, 500), 128, cached=False),
    "cached": Mode((375, 500), 128, cached=True),
    "cached small": Mode((64, 64), 64, cached=True),
}
# A step far on in a long run, whose batch must come as soon as the first one's.
FAR, NEAR = 1_990_000, 10


def measure(job: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Time one loader.

    Args:
        job: `peer`, `mode`, `rounds`, `folder`, `quick`.
        tell: takes a line on how far it is.

    Returns:
        `wall`, `cpu`: images per second of each round, none where the library isn't there; `note`.
    """
    mode = MODES[job["mode"]]
    passes = 1 if job["quick"] else 4
    count = BATCH if job["quick"] else 8 * BATCH
    folder = Path(job["folder"]) / f"photographs-{count}-{mode.sides[0]}"
    if not folder.exists():
        tell("writing the files")
        write(folder, count, mode.sides)
    try:
        batches, note = opened(job["peer"], mode, folder)
        next(batches)
    except ModuleNotFoundError as error:
        return {"wall": [], "cpu": [], "note": f"{error.name} is not installed"}
    wall, cpu = [], []
    for number in range(job["rounds"]):
        tell(f"round {number + 1} of {job['rounds']}")
        begun = time.perf_counter(), cpu_seconds()
        for _ in range(passes * count // BATCH):
            next(batches)
        wall.append(passes * count / (time.perf_counter() - begun[0]))
        cpu.append(passes * count / (cpu_seconds() - begun[1]))
    return {"wall": wall, "cpu": cpu, "note": note}


def opened(peer: str, mode: Mode, folder: Path) -> tuple[Iterator[Any], str]:
    """The batches of a loader, and a remark."""
    if peer == OURS:
        loader = ours(folder, mode)
        return loader.batches(), resumes(loader)
    from benchmarks import loaders as theirs

    images: Any = sorted(str(path) for path in folder.rglob("*.jpg"))
    if mode.cached:
        images = np.stack([theirs.read(path) for path in images])
    return theirs.PEERS[peer](images, mode.view, BATCH, num_threads()), ""


def ours(folder: Path, mode: Mode) -> Loader:
    """Our loader, on encoded files or on pixels that were decoded once."""
    limit = DECODED_LIMIT if mode.cached else 0
    files = DataSpec(name=str(folder), validation=None, test=None)
    splits = data.load(files, folder.parent / f"cache-{limit}", limit)
    spec = DistillSpec.from_dict(
        {"views": {"size": mode.view}, "batch_size": BATCH, "duration": {"total_steps": 2_000_000}}
    )
    return Loader(spec, splits.train, 2_000_000)


def resumes(loader: Loader) -> str:
    """How long the first batch takes at a step near the beginning, and far on."""
    took = {}
    for step in (NEAR, FAR, NEAR, FAR):
        begun = time.perf_counter()
        next(loader.batches(step))
        took[step] = time.perf_counter() - begun
    return ", ".join(f"first batch at step {step:,}: {seconds * 1e3:.1f} ms" for step, seconds in took.items())


def cpu_seconds() -> float:
    """CPU seconds of this process and of all that it started and that still run or have ended."""
    own = time.process_time()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own + ended.ru_utime + ended.ru_stime + running_children()


def running_children() -> float:
    """CPU seconds of the processes that this one started and that still run; 0 where that can't be read."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def write(folder: Path, count: int, sides: tuple[int, int]) -> None:
    """Photographs of one size as JPEG files: parts of scikit-learn's two, enlarged or reduced."""
    import cv2
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    for number in range(count):
        photograph = photographs[number % 2]
        height = int(random.integers(280, photograph.shape[0]))
        width = height * sides[1] // sides[0]
        y, x = random.integers(photograph.shape[0] - height + 1), random.integers(photograph.shape[1] - width + 1)
        part = cv2.resize(photograph[y : y + height, x : x + width], sides[::-1])
        path = folder / "train" / f"class{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), part[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])

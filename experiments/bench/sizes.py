"""What is measured: one distillation for each size, as a spec, its data, and how many steps make one timing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from experiments import config
from experiments.planning.estimates import RandomSource
from framework.spec import DistillSpec
from framework.spec.validation import plain

# Small enough to be trained from the first step, and not to be mistaken for a result.
_COMMON = {
    "schedule": {"warmup_steps": 10},
    "duration": {"total_steps": 2_000_000},
    "evaluation": {"num_times": 0, "train_subset": 0},
}


@dataclass(frozen=True)
class Size:
    """One piece of work.

    Attributes:
        title: in words.
        changes: the spec's differences from the defaults, as a recipe has them.
        canvas: side of the images in pixels; None for photographs of 375x500, which are cropped on the host.
        steps: in one timing.
        images: how many there are.
        accelerator: whether a CPU would take too long.
    """

    title: str
    changes: dict[str, Any]
    canvas: int | None
    steps: int
    images: int = 512
    accelerator: bool = False

    @property
    def spec(self) -> DistillSpec:
        """The distillation."""
        spec = config.apply(config.apply(DistillSpec().to_dict(), self.changes), _COMMON)
        # What is cropped on the host travels as whole grey levels, to the steps written by hand as well.
        return DistillSpec.from_dict(config.apply(spec, {"views": {"truncate": self.canvas is None}}))

    @property
    def source(self) -> RandomSource:
        """Noise of the right shape: what a pixel says costs nothing."""
        return RandomSource(self.images, 10, self.canvas)


def _bit(depth: int, width: float) -> dict[str, Any]:
    return {"name": "bit", "options": {"depth": depth, "width": width, "head_zero_init": False}}


def _distils(student: dict[str, Any], teacher: dict[str, Any], size: int, batch: int) -> dict[str, Any]:
    return {"student": student, "teachers": [teacher], "views": {"size": size}, "batch_size": batch}


_DIGITS = config.RECIPES["digits"] | {"teachers": [{"name": "convnet", "options": {"widths": [16, 32, 64]}}]}
SIZES = {
    "digits": Size("the digits recipe, 8 px, batch 100", _DIGITS, 8, 150, 100),
    "bit64": Size("BiT-R26x0.5 from R26x1, 64 px, batch 16", _distils(_bit(26, 0.5), _bit(26, 1.0), 64, 16), 80, 4),
    "bit128": Size(
        "BiT-R50x1 from R101x1, 128 px, batch 8", _distils(_bit(50, 1.0), _bit(101, 1.0), 128, 8), None, 1, 64
    ),
    "bit224": Size(
        "BiT-R50x1 from R152x2, 224 px, batch 64, the paper's, on an accelerator",
        _distils(_bit(50, 1.0), _bit(152, 2.0), 224, 64),
        None,
        10,
        128,
        accelerator=True,
    ),
}


def quick(size: Size) -> Size:
    """The same kind of work, small enough for a test."""
    spec = size.spec
    nets = {"student": plain(spec.student), "teachers": [plain(spec.teachers[0])]}
    for model in (nets["student"], nets["teachers"][0]):
        if "depth" in model["options"]:
            model["options"] |= {"depth": [1, 1], "width": 0.5}
    changes = (
        size.changes | nets | {"batch_size": 4, "views": {**size.changes["views"], "size": min(spec.views.size, 16)}}
    )
    return replace(size, title=f"{size.title}, made tiny", changes=changes, steps=2, images=8)


def chosen(job: dict[str, Any]) -> Size:
    """The size of a job, tiny where it is a `quick` one, with another batch where it names one."""
    size = SIZES[job["size"]]
    size = replace(size, changes={**size.changes, "precision": job["precision"]})
    size = quick(size) if job["quick"] else size
    return replace(size, changes={**size.changes, "batch_size": job["batch"]}) if job.get("batch") else size

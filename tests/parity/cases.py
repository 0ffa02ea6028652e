"""The specs that all three backends are held to, and the images that they see. Imports no engine."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from experiments.parity.measure import Examples
from framework.spec import DistillSpec

# A clip that acts, a temperature that is not 1, decay of visible size, no warm-up: nothing is without effect.
FUNMATCH: dict[str, Any] = {
    "student": {"name": "convnet", "options": {"widths": [8, 16]}},
    "teachers": [{"name": "convnet", "options": {"widths": [8, 12], "convs_per_stage": 2}}],
    "teaching": "funmatch",
    "views": {"size": 8, "area": [0.1, 1.0], "truncate": False},
    "loss": {"temperature": 2.0},
    "optimizer": {"lr": 3e-3, "weight_decay": 0.01, "clip_norm": 0.05},
    "duration": {"total_steps": 60},
    "batch_size": 16,
    "seed": 3,
}
# Two teachers, one with its own input range; standardised kernels; large views; a clip that never acts.
INDEPENDENT = FUNMATCH | {
    "student": {"name": "convnet", "options": {"widths": [8, 16], "standardised": True, "stem_stride": 2}},
    "teachers": [
        {"name": "convnet", "options": {"widths": [8]}},
        {"name": "convnet", "options": {"widths": [16]}, "normalize": "caffe"},
    ],
    "teaching": "independent",
    "views": {"size": 12, "area": [0.1, 1.0], "truncate": False},
    "loss": {"temperature": 1.0},
    "optimizer": {"lr": 3e-3, "weight_decay": 0.01, "clip_norm": 1e3},
}
# A shared window of the resized image, enlarged: pixels beyond it count.
BFLOAT16 = FUNMATCH | {
    "teaching": "same/rc",
    "optimizer": FUNMATCH["optimizer"] | {"moment_dtype": "bfloat16"},
    "views": {"size": 12, "truncate": False},
}
# One crop at three sizes, mixed, for two teachers that stand for one.
SIZES = FUNMATCH | {
    "teachers": [
        {"name": "convnet", "options": {"widths": [8]}, "normalize": "caffe"},
        {"name": "convnet", "options": {"widths": [16]}},
    ],
    "teaching": "same/ic,mix",
    "views": {"size": 8, "teacher_size": [12, 6], "area": [0.1, 1.0], "truncate": False},
    "loss": {"temperature": 2.0, "ensemble": "mean_probs"},
}
# A constant view for the teacher, a share for the labels, momentum.
TASK = FUNMATCH | {
    "teaching": "fixed",
    "loss": {"temperature": 2.0, "task_weight": 0.5},
    "optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.01, "clip_norm": 0.5},
}
# With a projection, an identity shortcut and a change of stride.
BIT = FUNMATCH | {
    "student": {"name": "bit", "options": {"depth": [2, 1], "width": 0.5}},
    "views": {"size": 16, "area": [0.1, 1.0], "truncate": False},
    "optimizer": {"lr": 1e-3, "weight_decay": 1e-3, "clip_norm": 1.0},
    "batch_size": 8,
}
CASES = {
    "funmatch": FUNMATCH,
    "independent": INDEPENDENT,
    "bfloat16": BFLOAT16,
    "task": TASK,
    "bit": BIT,
    "sizes": SIZES,
}
STEPS = {"funmatch": 50, "independent": 50, "bfloat16": 3, "task": 3, "bit": 3, "sizes": 2}
PROBES = {"funmatch": 3, "independent": 3, "bfloat16": 3, "task": 3, "bit": 1, "sizes": 1}

EVALUATED = ("funmatch", "independent")  # an evaluation is one more function to compile

# What one process does, by the kind of the process: (precision, cases).
KINDS = {
    "float64": ("float64", tuple(CASES)),
    "float32": ("float32", ("funmatch", "independent", "bit")),
    "mutations": ("float64", ("funmatch",)),
    "leak": ("float64", ("funmatch",)),
    "resumed float64": ("float64", ("funmatch",)),
    "resumed float32": ("float32", ("funmatch",)),
}
# How many steps a run goes on for on another backend, after those that are probed.
RESUMED_STEPS = {"float64": 20, "float32": 20}
# A control goes on on its own backend, each of its weights changed once by this, up or down.
PERTURBATION = 1e-7
MUTATION_STEPS = 2

# The names of `mutations.MUTATIONS`, which can't be imported without an engine.
MUTATIONS = (
    "mixup_rolls_forward",
    "temperature_not_squared",
    "group_norm_epsilon",
    "adam_epsilon",
    "crop_shifted",
    "flip_missing",
    "biases_decay",
    "decay_times_lr",
    "clip_missing",
    "bias_correction_missing",
    "divergence_reversed",
    "value_range",
)


def spec_of(case: str, precision: str = "float64") -> DistillSpec:
    return DistillSpec.from_dict({**CASES[case], "precision": precision})


@cache
def examples() -> Examples:
    """Real scans of digits on canvases that are not square, in channels that are not equal."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    gray = (digits.images[:88] * 15).astype(np.uint8)
    wide = np.concatenate([gray, gray[:, :, ::-1][:, :, :3]], axis=2)
    images = np.stack([wide, wide[:, ::-1], 255 - np.roll(wide, 2, axis=2)], axis=3)
    labels = digits.target[:88].astype(np.int32)
    return Examples(images[:48], labels[:48], 10, (images[48:], labels[48:]))


def strides(options: dict[str, Any]) -> list[list[int]]:
    """The stride of each convolution of a convnet, stage by stage."""
    firsts = [options.get("stem_stride", 1)] + [2] * (len(options["widths"]) - 1)
    return [[first] + [1] * (options.get("convs_per_stage", 1) - 1) for first in firsts]


def groups(width: int) -> int:
    return math.gcd(8, width)

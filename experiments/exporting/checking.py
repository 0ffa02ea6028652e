"""A file is loaded again as its users will load it: by the lines of its model card, in a process that has no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import backends
from experiments.exporting.formats import Format
from experiments.exporting.subject import Subject
from experiments.exporting.to_onnx import TELEMETRY
from framework.protocols import Array

# Logits may differ by so much; by a hundred thousandth of the largest one where that is more than ten.
TOLERANCE = 1e-4
_PROJECT = ("framework", "backends", "experiments", "benchmarks")
# Loads the file once, then runs the line for each group of inputs of one shape.
_PROCESS = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import numpy
given = numpy.load({given!r})
{load}
found = {{}}
for key in given.files:
    images = views = given[key]
    {run}
    found = {{**found, **{result}}}
with open({found!r}, "wb") as file:
    numpy.savez(file, **found)
"""


class NotTheSame(Exception):
    """A file doesn't give what the student gives; the message says how."""


def check(subject: Subject, how: Format, path: Path) -> tuple[float, int]:
    """Load a file in a process of its own, and compare its logits with the student's.

    Args:
        subject: the student.
        how: the file's format.
        path: the file; what the process needs is written beside it.

    Returns:
        The largest difference of a logit, and the number of images.

    Raises:
        NotTheSame: a logit differs by more than the tolerance, or another class comes first; or it can't be loaded.
    """
    groups = _inputs(subject, how)
    found = run(how, path, {str(number): batch for number, (_, batch) in enumerate(groups)})
    if how.takes:
        logits = np.empty_like(subject.logits)
        for number, (places, _) in enumerate(groups):
            logits[places] = found[str(number)]
    else:
        logits = _of_arrays(subject, found)
    return compared(subject.logits, logits)


def compared(expected: Array, found: Array) -> tuple[float, int]:
    """Hold logits [N, C] against the student's; as `check`."""
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()) / 10)
    difference = float(np.abs(expected - found).max())
    others = int((expected.argmax(-1) != found.argmax(-1)).sum())
    if not difference <= limit or others:
        raise NotTheSame(
            f"its logits differ from the student's by {difference:.2g} (allowed: {limit:.2g}), "
            f"and {others} of {len(expected)} images get another class"
        )
    return difference, len(expected)


def _inputs(subject: Subject, how: Format) -> list[tuple[list[int], Array]]:
    """The inputs in batches of one shape, each with the places of its images."""
    if not how.takes:
        return [([], np.zeros(0))]
    if how.takes == "images":
        shapes = [image.shape for image in subject.images]
        groups = [[place for place, each in enumerate(shapes) if each == shape] for shape in dict.fromkeys(shapes)]
        return [(places, np.stack([subject.images[place] for place in places])) for places in groups]
    views = subject.views.transpose(0, 3, 1, 2) if how.takes == "channels first" else subject.views
    # Batches of unequal sizes: a file that takes one size only is of no use.
    places = list(range(len(views)))
    return [(part, np.ascontiguousarray(views[part])) for part in (places[:1], places[1:]) if part]


def run(how: Format, path: Path, given: dict[str, Array]) -> dict[str, Array]:
    """What the format's lines make of inputs by name; raises `NotTheSame` where they fail."""
    folder = path.parent
    np.savez(folder / "given.npz", allow_pickle=False, **given)
    libraries = {*_PROJECT, "keras", "onnx", TELEMETRY, *backends.BACKENDS.values()} - {*how.needed}
    # Keras alone has a backend, of course.
    blocked = sorted(libraries - ({*backends.BACKENDS.values()} if "keras" in how.libraries else set()))
    code = _PROCESS.format(
        blocked=blocked,
        given="given.npz",
        found="found.npz",
        load=how.load.replace("FILE", path.name),
        run=how.run.replace("FILE", path.name),
        result="{key: logits}" if how.takes else "arrays",
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True
    )
    if done.returncode:
        raise NotTheSame(f"it can't be loaded again: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    with np.load(folder / "found.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def _of_arrays(subject: Subject, arrays: dict[str, Array]) -> Array:
    """The logits of a new model that is filled with the arrays."""
    from framework.models import catalog
    from framework.models.foreign import DRAWS
    from framework.models.initial import assign

    card = subject.student.card
    model = catalog.build(card.name, card.options, card.num_classes, card.image_size, None)
    # The seed and count of a wrapped module's random numbers are no parameters.
    assign(model, arrays, [DRAWS])
    return np.asarray(model.predict_on_batch(subject.views), np.float32)

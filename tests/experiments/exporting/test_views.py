"""The views that an ONNX file makes of images are the evaluation's, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from experiments.exporting.graph import Graph, model, value
from experiments.exporting.views import views
from framework.data.hostviews import evaluation_view, to_range

# Reduced and enlarged, by whole factors and others, along one side alone, and left as it is.
SIZES = [(37, 53), (8, 8), (16, 16), (24, 40), (5, 7), (150, 11), (9, 120), (97, 96), (300, 211), (3, 4)]


def session(size: int, resize: int | None) -> Any:
    graph = Graph()
    graph("Identity", views(graph, "images", size, resize), name="views")
    given = [value("images", np.uint8, ["N", "H", "W", 3])]
    made = model(graph, given, [value("views", np.float32, ["N", size, size, 3])], "views", {})
    return onnxruntime.InferenceSession(made.SerializeToString())


def image(height: int, width: int, seed: int) -> np.ndarray:
    """Noise or, every other time, a smooth surface, whose means are often whole levels."""
    random = np.random.default_rng(seed)
    if seed % 2:
        return random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    steps = random.integers(-2, 3, (height, width, 3)).cumsum(0).cumsum(1)
    return (steps % 256).astype(np.uint8)


@pytest.mark.parametrize(("size", "resize"), [(8, None), (24, None), (8, 8), (16, 24), (64, 70)])
def test_views_are_those_of_the_evaluation(size: int, resize: int | None) -> None:
    run = session(size, resize)
    for seed, (height, width) in enumerate(SIZES):
        pixels = image(height, width, seed)
        expected = to_range(evaluation_view(pixels, resize, None if resize is None else size, size))
        (found,) = run.run(None, {"images": np.stack([pixels, pixels[::-1]])})
        np.testing.assert_array_equal(found[0], expected, err_msg=f"{height} x {width}")
        assert np.abs(found[1] - found[0]).max() > 0

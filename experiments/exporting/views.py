"""The evaluation's view of an image as nodes of ONNX: from uint8 [N, H, W, 3] of any size to float32 [N, S, S, 3].

`framework.data.hostviews.evaluation_view` is what it does, in the order of OpenCV's arithmetic and of its roundings,
because what follows is cut off to whole grey levels: a value that differs in its last digit could become another level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.exporting.graph import Graph, value

# As `framework.data.hostviews` has it.
_MARGIN = 1e-4
# OpenCV leaves out what a pixel at the end of a window has less of than this.
_LEAST = 1e-3
_ROWS, _COLUMNS = 1, 2


def views(graph: Graph, images: str, size: int, resize: int | None) -> str:
    """Write the preprocessing down.

    Args:
        graph: takes its nodes.
        images: the value it reads, uint8 [N, H, W, 3].
        size: S, in pixels.
        resize: the shorter side before the central crop, in pixels; None squeezes the whole image into a square.

    Returns:
        The name of the views: float32 [N, S, S, 3] in [-1, 1].
    """
    pixels = _squeezed(graph, images, size) if resize is None else _cropped(graph, images, size, resize)
    scaled = graph("Mul", pixels, graph.constant(2 / 255, np.float32))
    return graph("Sub", scaled, graph.constant(1, np.float32))


def _extent(graph: Graph, images: str, axis: int) -> str:
    """The images' number of rows or columns: int64, a scalar."""
    return graph("Gather", graph("Shape", images), graph.constant(axis, np.int64))


def _cast(graph: Graph, x: str, dtype: type) -> str:
    from onnx import helper

    return graph("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _taken(graph: Graph, x: str, places: str, axis: int) -> str:
    return _cast(graph, graph("Gather", x, places, axis=axis), np.float32)


def _along(graph: Graph, weights: str, axis: int) -> str:
    """Weights [S] in the shape in which they meet [N, H, W, 3] at one of its axes."""
    return graph("Reshape", weights, graph.constant([-1] + [1] * (3 - axis), np.int64))


def _squeezed(graph: Graph, images: str, size: int) -> str:
    """Bilinear, half-pixel centres, no antialiasing; cut off to whole levels."""
    sampled = _sampled(graph, _sampled(graph, images, size, _COLUMNS), size, _ROWS)
    return graph("Floor", graph("Add", sampled, graph.constant(_MARGIN, np.float32)))


def _sampled(graph: Graph, x: str, size: int, axis: int) -> str:
    extent = _extent(graph, x, axis)
    last = graph("Sub", extent, graph.constant(1, np.int64))
    scale = graph("Div", _cast(graph, extent, np.float64), graph.constant(size, np.float64))
    centres = graph("Mul", graph.constant(np.arange(size) + 0.5), scale)
    places = graph("Sub", centres, graph.constant(0.5))
    # Beyond the outermost centres the edge is repeated.
    places = graph("Max", graph("Min", places, _cast(graph, last, np.float64)), graph.constant(0.0))
    below = graph("Floor", places)
    low = _cast(graph, below, np.int64)
    high = graph("Min", graph("Add", low, graph.constant(1, np.int64)), last)
    share = _cast(graph, graph("Sub", places, below), np.float32)
    first, second = _taken(graph, x, low, axis), _taken(graph, x, high, axis)
    # One rounding for the product and the sum, as a fused multiply-add has it: in double precision it is exact.
    product = graph(
        "Mul", *(_cast(graph, each, np.float64) for each in (graph("Sub", second, first), _along(graph, share, axis)))
    )
    return _cast(graph, graph("Add", _cast(graph, first, np.float64), product), np.float32)


@dataclass(frozen=True)
class _Axis:
    """One axis of the resizing that comes before the crop: values of the graph, all scalars of float64.

    Attributes:
        axis: which.
        extent: of the image, in pixels.
        target: of the resized image.
        start: where the crop begins in it.
    """

    axis: int
    extent: str
    target: str
    start: str


def _cropped(graph: Graph, images: str, size: int, resize: int) -> str:
    """The shorter side to `resize` by the area method, cut off to whole levels; of it the central square."""
    extents = [_cast(graph, _extent(graph, images, axis), np.float64) for axis in (_ROWS, _COLUMNS)]
    factor = graph("Div", graph.constant(resize, np.float64), graph("Min", *extents))
    axes = [_axis(graph, axis, extent, factor, size) for axis, extent in zip((_ROWS, _COLUMNS), extents, strict=True)]
    branches: dict[str, Any] = {
        "then_branch": _branch(graph, lambda: _enlarged(graph, images, axes, size)),
        "else_branch": _branch(graph, lambda: _reduced(graph, images, axes, size)),
    }
    return graph("If", graph("Greater", factor, graph.constant(1.0)), **branches)


def _axis(graph: Graph, axis: int, extent: str, factor: str, size: int) -> _Axis:
    target = graph("Round", graph("Mul", extent, factor))
    margin = graph("Sub", target, graph.constant(size, np.float64))
    return _Axis(axis, extent, target, graph("Floor", graph("Mul", margin, graph.constant(0.5))))


def _branch(graph: Graph, write: Callable[[], str]) -> Any:
    from onnx import helper

    with graph.branch() as nodes:
        result = write()
    return helper.make_graph(nodes, graph.new("branch"), [], [value(result, np.float32, None)])


def _reduced(graph: Graph, images: str, axes: list[_Axis], size: int) -> str:
    """Means over the area of each target pixel: columns first."""
    rows, columns = axes
    mean = _summed_area(graph, _summed_area(graph, images, columns, size), rows, size)
    return graph("Floor", graph("Add", mean, graph.constant(_MARGIN, np.float32)))


def _summed_area(graph: Graph, x: str, axis: _Axis, size: int) -> str:
    """Along one axis, the weighted pixels under each target, added up one after the other."""
    one = graph.constant(1.0)
    scale = graph("Div", axis.extent, axis.target)
    start = graph("Mul", graph("Add", graph.constant(np.arange(size, dtype=np.float64)), axis.start), scale)
    stop = graph("Add", start, scale)
    width = graph("Min", scale, graph("Sub", axis.extent, start))
    last = graph("Sub", axis.extent, one)
    end = graph("Min", graph("Floor", stop), last)
    whole = graph("Min", graph("Ceil", start), end)
    before, after = graph("Sub", whole, start), graph("Sub", stop, end)
    least = graph.constant(_LEAST)
    first = graph("Sub", whole, _cast(graph, graph("Greater", before, least), np.float64))
    shares = [
        _cast(graph, graph("Div", part, width), np.float32)
        for part in (before, one, graph("Min", graph("Min", after, one), width))
    ]

    def pixel(number: str) -> str:
        place = graph("Add", first, number)
        ends = graph("And", graph("Equal", place, end), graph("Greater", after, least))
        rest = graph("Where", ends, shares[2], graph.constant(0, np.float32))
        rest = graph("Where", graph("Less", place, end), shares[1], rest)
        share = graph("Where", graph("Less", place, whole), shares[0], rest)
        pixels = _taken(graph, x, _cast(graph, graph("Min", place, last), np.int64), axis.axis)
        return graph("Mul", pixels, _along(graph, share, axis.axis))

    count = _cast(graph, graph("Add", graph("Floor", scale), one), np.int64)
    return _added_up(graph, pixel(graph.constant(0.0)), count, pixel)


def _added_up(graph: Graph, first: str, count: str, term: Callable[[str], str]) -> str:
    """The first and so many more terms, in their order; `term` takes the number of a term, float64."""
    from onnx import helper

    number, going, before = (graph.new(stem) for stem in ("number", "going", "before"))
    with graph.branch() as nodes:
        place = graph("Add", _cast(graph, number, np.float64), graph.constant(1.0))
        total = graph("Add", before, term(place))
        still = graph("Identity", going)
    inputs = [value(number, np.int64, []), value(going, np.bool_, []), value(before, np.float32, None)]
    outputs = [value(still, np.bool_, []), value(total, np.float32, None)]
    return graph("Loop", count, "", first, body=helper.make_graph(nodes, graph.new("body"), inputs, outputs))


def _enlarged(graph: Graph, images: str, axes: list[_Axis], size: int) -> str:
    """The area method for a larger target: one or two pixels under each, in TensorFlow's order and single precision."""
    rows, columns = axes
    total = _summed_pair(graph, _summed_pair(graph, images, columns, size), rows, size)
    scales = (_cast_scale(graph, axis) for axis in axes)
    area = _cast(graph, graph("Mul", *scales), np.float64)
    # By way of double precision, which gives the same float32: a runtime would make a division of the multiplication.
    inverse = _cast(graph, graph("Div", graph.constant(1.0), area), np.float32)
    return graph("Floor", graph("Mul", total, inverse))


def _cast_scale(graph: Graph, axis: _Axis) -> str:
    return graph("Div", _cast(graph, axis.extent, np.float32), _cast(graph, axis.target, np.float32))


def _summed_pair(graph: Graph, x: str, axis: _Axis, size: int) -> str:
    one, scale = graph.constant(1, np.float32), _cast_scale(graph, axis)
    numbers = graph("Add", graph.constant(np.arange(size, dtype=np.float64)), axis.start)
    numbers = _cast(graph, numbers, np.float32)
    start, stop = graph("Mul", numbers, scale), graph("Mul", graph("Add", numbers, one), scale)
    first = graph("Floor", start)
    second = graph("Add", first, one)
    inside = graph("And", graph("Less", first, start), graph("Greater", second, stop))
    share = graph("Where", inside, scale, graph("Sub", graph("Min", stop, second), start))
    rest = graph("Max", graph("Sub", graph("Sub", stop, first), one), graph.constant(0, np.float32))
    last = _cast(graph, graph("Sub", axis.extent, graph.constant(1.0)), np.float32)
    terms = [
        graph("Mul", _taken(graph, x, _cast(graph, place, np.int64), axis.axis), _along(graph, weights, axis.axis))
        for place, weights in ((first, share), (graph("Min", second, last), rest))
    ]
    return graph("Add", *terms)

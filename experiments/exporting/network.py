"""A model's plain operations as nodes of ONNX, on maps [N, C, H, W]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from experiments.exporting.graph import Graph
from framework.models import operations
from framework.models.operations import Operation, Pads, Step

_OPERATORS = {"relu": "Relu", "hard_silu": "HardSwish", "hard_sigmoid": "HardSigmoid"}


def network(graph: Graph, steps: Sequence[Step], views_nhwc: str, logits: str) -> None:
    """Write a model down.

    Args:
        graph: takes its nodes.
        steps: as `framework.models.plain.plain` gives them.
        views_nhwc: the value it reads, float32 [N, S, S, 3].
        logits: what its result is to be called.
    """
    made = {operations.VIEWS: graph("Transpose", views_nhwc, perm=[0, 3, 1, 2])}
    for step in steps:
        name = logits if step is steps[-1] else step.name
        made[step.name] = _written(step.does, graph, name, *(made[source] for source in step.inputs))


@singledispatch
def _written(does: Operation, graph: Graph, name: str, *inputs: str) -> str:
    """Write an operation down; returns the name of its result, which is `name`."""
    raise NotImplementedError(type(does).__name__)


@_written.register
def _(does: operations.Conv, graph: Graph, name: str, x: str) -> str:
    kernel = graph.constant(does.kernel.transpose(3, 2, 0, 1), name=f"{name}/kernel")
    strides = [does.stride] * 2
    return graph("Conv", x, kernel, name=name, strides=strides, pads=_pads(does.pads), group=does.groups)


def _pads(pads: Pads) -> list[int]:
    (top, bottom), (left, right) = pads
    return [top, left, bottom, right]


@_written.register
def _(does: operations.GroupNorm, graph: Graph, name: str, x: str) -> str:
    ones, zeros = (graph.constant(np.full(does.groups, each, np.float32)) for each in (1, 0))
    grouped = graph("Reshape", x, graph.constant([0, does.groups, -1], np.int64))
    normal = graph("InstanceNormalization", grouped, ones, zeros, epsilon=does.epsilon)
    normal = graph("Reshape", normal, graph("Shape", x))
    scale, bias = (
        graph.constant(numbers.reshape(-1, 1, 1), name=f"{name}/{called}")
        for called, numbers in (("scale", does.scale), ("bias", does.bias))
    )
    return graph("Add", graph("Mul", normal, scale), bias, name=name)


@_written.register
def _(does: operations.BatchNorm, graph: Graph, name: str, x: str) -> str:
    called = {"scale": does.scale, "bias": does.bias, "mean": does.mean, "variance": does.variance}
    numbers = [graph.constant(each, name=f"{name}/{key}") for key, each in called.items()]
    return graph("BatchNormalization", x, *numbers, name=name, epsilon=does.epsilon)


@_written.register
def _(does: operations.MaxPool, graph: Graph, name: str, x: str) -> str:
    window = {"kernel_shape": [does.size] * 2, "strides": [does.stride] * 2}
    if does.value == -math.inf:
        return graph("MaxPool", x, name=name, pads=_pads(does.pads), **window)
    (top, bottom), (left, right) = does.pads
    pads = graph.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    return graph("MaxPool", graph("Pad", x, pads, graph.constant(does.value, np.float32)), name=name, **window)


@_written.register
def _(does: operations.Dense, graph: Graph, name: str, x: str) -> str:
    kernel, bias = (graph.constant(getattr(does, each), name=f"{name}/{each}") for each in ("kernel", "bias"))
    return graph("Gemm", x, kernel, bias, name=name)


@_written.register
def _(does: operations.Activation, graph: Graph, name: str, x: str) -> str:
    if does.kind == "relu6":
        return graph("Clip", x, *(graph.constant(limit, np.float32) for limit in (0, 6)), name=name)
    attributes = {"alpha": 1 / 6} if does.kind == "hard_sigmoid" else {}
    return graph(_OPERATORS[does.kind], x, name=name, **attributes)


@_written.register
def _(does: operations.Add, graph: Graph, name: str, x: str, y: str) -> str:
    return graph("Add", x, y, name=name)


@_written.register
def _(does: operations.Weight, graph: Graph, name: str, x: str, weights_nc: str) -> str:
    return graph("Mul", x, graph("Unsqueeze", weights_nc, graph.constant([2, 3], np.int64)), name=name)


@_written.register
def _(does: operations.Mean, graph: Graph, name: str, x: str) -> str:
    return graph("ReduceMean", x, name=name, axes=[2, 3], keepdims=0)

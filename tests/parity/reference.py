"""One step of distillation in plain numpy, float64: loops and textbook formulas, nothing of the framework's.

It shares no code and, where there is a choice, no method with `framework`: pixels are interpolated one by one, images
are convolved place by place. Gradients come from the complex step: the loss of complex parameters, whose imaginary
part is the derivative along a direction, exact to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
Parameters = Mapping[str, Array]


def view(image: Array, box: Array, flip: float, size: int, resized_first: bool = False) -> Array:
    """One view [S, S, 3] in [-1, 1]: bilinear, half-pixel centres, edges (of the box, or of the image) repeated."""
    top, left, height, width = (float(value) for value in box)
    window = image.astype(np.float64)
    if not resized_first:
        window = window[int(top) : int(top + height), int(left) : int(left + width)]
        top = left = 0
    result = np.empty((size, size, 3))
    for row in range(size):
        for column in range(size):
            y = min(max(top + (row + 0.5) * height / size - 0.5, 0), len(window) - 1)
            x = min(max(left + (column + 0.5) * width / size - 0.5, 0), window.shape[1] - 1)
            place = (row, size - 1 - column) if flip else (row, column)
            result[place] = bilinear(window, y, x)
    return result / 127.5 - 1


def bilinear(window: Array, y: float, x: float) -> Array:
    low_y, low_x = math.floor(y), math.floor(x)
    high_y, high_x = min(low_y + 1, len(window) - 1), min(low_x + 1, window.shape[1] - 1)
    above = window[low_y, low_x] + (x - low_x) * (window[low_y, high_x] - window[low_y, low_x])
    below = window[high_y, low_x] + (x - low_x) * (window[high_y, high_x] - window[high_y, low_x])
    return above + (y - low_y) * (below - above)


def mixed(views: Array, factor: float) -> Array:
    """Each example with its predecessor, the first with the last."""
    partners = [views[-1], *views[:-1]]
    return np.stack([factor * own + (1 - factor) * other for own, other in zip(views, partners, strict=True)])


def caffe(views: Array) -> Array:
    """BGR in 0..255, less ImageNet's mean colour."""
    return (views[..., ::-1] + 1) * 127.5 - np.array([103.939, 116.779, 123.68])


def convnet(parameters: Parameters, x: Array, strides: Sequence[Sequence[int]], standardised: bool = False) -> Array:
    """Logits [B, C] of views [B, S, S, 3]."""
    for stage, steps in enumerate(strides, start=1):
        for number, stride in enumerate(steps, start=1):
            kernel = parameters[f"stage{stage}/conv{number}/kernel"]
            if standardised:
                mean, deviation = kernel.mean((0, 1, 2)), np.sqrt(variance(kernel, (0, 1, 2)) + 1e-10)
                kernel = (kernel - mean) / deviation
            scale, bias = (parameters[f"stage{stage}/norm{number}/{name}"].ravel() for name in ("scale", "bias"))
            x = group_norm(convolved(x, kernel, stride), scale, bias, math.gcd(8, len(scale)))
            x = np.where(x.real > 0, x, 0)
    return x.mean((1, 2)) @ parameters["head/kernel"] + parameters["head/bias"]


def convolved(x: Array, kernel: Array, stride: int) -> Array:
    """A 3x3 convolution with one pixel of zeros around the map."""
    batch, height, width, channels = x.shape
    padded = np.zeros((batch, height + 2, width + 2, channels), x.dtype)
    padded[:, 1:-1, 1:-1] = x
    rows, columns = range(0, height, stride), range(0, width, stride)
    result = np.empty((batch, len(rows), len(columns), kernel.shape[3]), np.result_type(x, kernel))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            patch = padded[:, row : row + 3, column : column + 3]
            result[:, i, j] = np.tensordot(patch, kernel, axes=3)
    return result


def group_norm(x: Array, scale: Array, bias: Array, groups: int) -> Array:
    result = np.empty(x.shape, np.result_type(x, scale, bias))
    for channels in np.array_split(np.arange(x.shape[3]), groups):
        part = x[..., channels]
        mean = part.mean((1, 2, 3), keepdims=True)
        deviation = np.sqrt(variance(part, (1, 2, 3))[:, None, None, None] + 1e-5)
        result[..., channels] = (part - mean) / deviation * scale[channels] + bias[channels]
    return result


def variance(x: Array, axes: tuple[int, ...]) -> Array:
    """Biased; `np.var` takes squares of absolute values, which the complex step can't use."""
    return ((x - x.mean(axes, keepdims=True)) ** 2).mean(axes)


def log_softmax(logits: Array) -> Array:
    shifted = logits - logits.real.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def divergence(student: Array, teacher: Array, temperature: float) -> Array:
    """T² KL(teacher || student) of softened softmaxes, [B]."""
    log_q, log_p = log_softmax(teacher / temperature), log_softmax(student / temperature)
    return temperature * temperature * (np.exp(log_q) * (log_q - log_p)).sum(1)


def mean_softmax(teachers: Sequence[Array], temperature: float) -> Array:
    """Logits [B, C] whose softmax at T is the mean of the teachers'."""
    shares = [np.exp(log_softmax(teacher / temperature)) for teacher in teachers]
    return temperature * np.log(np.mean(shares, axis=0))


def cross_entropy(logits: Array, labels: Array) -> Array:
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def clipped(gradients: Parameters, largest: float) -> dict[str, Array]:
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
    return {name: gradient * min(1.0, largest / norm) for name, gradient in gradients.items()}


def cosine(step: int, total: int) -> float:
    return (1 + math.cos(math.pi * step / total)) / 2


def adamw(
    parameters: Parameters, gradients: Parameters, m: Parameters, v: Parameters, step: int, factor: float, options: Any
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Parameters and moments after the update that follows `step` others; decay is not multiplied by the rate."""
    gradients, new, new_m, new_v = clipped(gradients, options.clip_norm), {}, {}, {}
    # What is stored in 8 bits decays by a factor of 8 bits.
    b1 = options.b1 if options.moment_dtype == "float32" else 0.8984375
    for name, w in parameters.items():
        new_m[name] = b1 * m[name] + (1 - options.b1) * gradients[name]
        new_v[name] = options.b2 * v[name] + (1 - options.b2) * gradients[name] ** 2
        m_hat = new_m[name] / (1 - options.b1 ** (step + 1))
        v_hat = new_v[name] / (1 - options.b2 ** (step + 1))
        decay = options.weight_decay * w if name.endswith("kernel") else 0
        new[name] = w - factor * (options.lr * m_hat / (np.sqrt(v_hat) + options.epsilon) + decay)
    return new, new_m, new_v


def sgd(
    parameters: Parameters, gradients: Parameters, m: Parameters, factor: float, options: Any
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Parameters and momentum after an update."""
    gradients, new, new_m = clipped(gradients, options.clip_norm), {}, {}
    for name, w in parameters.items():
        new_m[name] = options.b1 * m[name] + gradients[name]
        decay = options.weight_decay * w if name.endswith("kernel") else 0
        new[name] = w - factor * (options.lr * new_m[name] + decay)
    return new, new_m


def derivative(loss: Any, parameters: Parameters, name: str, direction: Array) -> float:
    """The derivative of a loss of parameters along a direction of one of them."""
    moved = {**parameters, name: parameters[name] + 1e-30j * direction}
    return float(loss(moved).imag / 1e-30)

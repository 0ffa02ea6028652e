"""The step in JAX alone: pure functions of a flat dict of arrays, one jitted update whose state is donated."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.base import BIT_GROUPS, Arrays, Net, Step, Work, groups_of

Params = dict[str, Array]


def conv(x: Array, kernel: Array, stride: int = 1) -> Array:
    """A convolution padded by half the kernel on all sides; a product where XLA's own is slow on a CPU."""
    size, _, _, outputs = kernel.shape
    half = size // 2
    if size == 1:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if x.shape[1] <= 2 * stride:  # to a map of 2x2 or less
        padded = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
        end = padded.shape[1] - size + 1
        taps = [
            padded[:, top : end + top : stride, left : end + left : stride]
            for top in range(size)
            for left in range(size)
        ]
        return jnp.concatenate(taps, -1) @ kernel.reshape(-1, outputs)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((half, half), (half, half)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def standardised(kernel: Array) -> Array:
    """Each output channel's kernel with mean 0 and variance 1."""
    mean, variance = kernel.mean((0, 1, 2)), kernel.var((0, 1, 2))
    return (kernel - mean) * lax.rsqrt(variance + 1e-10)


def group_norm(params: Params, name: str, x: Array, groups: int) -> Array:
    """Normalise over space and groups of channels."""
    batch, _, _, channels = x.shape
    given, x = x.dtype, x.astype(jnp.float32)

    def group_mean(values: Array) -> Array:
        means = values.mean((1, 2)).reshape(batch, groups, -1).mean(2)
        return jnp.repeat(means, channels // groups, 1).reshape(batch, 1, 1, channels)

    centred = x - group_mean(x)
    inverse = lax.rsqrt(group_mean(centred * centred) + 1e-5)
    return (centred * (inverse * params[f"{name}/scale"]) + params[f"{name}/bias"]).astype(given)


def unit(params: Params, name: str, x: Array, stride: int) -> Array:
    """BiT's pre-activation bottleneck; its kernels are standardised already."""
    y = jax.nn.relu(group_norm(params, f"{name}/gn1", x, BIT_GROUPS))
    projection = params.get(f"{name}/conv_proj/kernel")
    shortcut = x if projection is None else conv(y[:, ::stride, ::stride], projection)
    y = jax.nn.relu(group_norm(params, f"{name}/gn2", conv(y, params[f"{name}/conv1/kernel"]), BIT_GROUPS))
    y = conv(y, params[f"{name}/conv2/kernel"], stride)
    y = jax.nn.relu(group_norm(params, f"{name}/gn3", y, BIT_GROUPS))
    return conv(y, params[f"{name}/conv3/kernel"]) + shortcut


def bit(net: Net, params: Params, x: Array) -> Array:
    """A BiT ResNetV2's logits."""
    x = conv(x, params["root_block/conv_root/kernel"], 2)
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
    for stage, units in enumerate(net.stages):
        for number in range(units):
            x = unit(params, f"block{stage + 1}/unit{number + 1:02d}", x, 2 if stage and not number else 1)
    x = jax.nn.relu(group_norm(params, "norm-pre-head", x, BIT_GROUPS))
    return x.mean((1, 2)) @ params["head/kernel"] + params["head/bias"]


def convnet(net: Net, params: Params, x: Array) -> Array:
    """3x3 convolutions, each normalised and rectified; their logits."""
    for stage, width in enumerate(net.stages):
        name = f"stage{stage + 1}"
        x = conv(x, params[f"{name}/conv1/kernel"], 2 if stage else 1)
        x = jax.nn.relu(group_norm(params, f"{name}/norm1", x, groups_of(width)))
    return x.mean((1, 2)) @ params["head/kernel"] + params["head/bias"]


NETS = {"bit": bit, "convnet": convnet}


def prepared(net: Net, params: Params) -> Params:
    """The parameters with the kernels that the net standardises standardised."""
    if net.kind != "bit":
        return params
    return {n: standardised(value) if "kernel" in n and value.ndim == 4 else value for n, value in params.items()}


def logits_of(work: Work, net: Net, params: Params, views: Array) -> Array:
    """A net's logits, float32; its kernels are standardised already."""
    if work.mixed:
        params, views = jax.tree.map(lambda array: array.astype(jnp.bfloat16), (params, views))
    return NETS[net.kind](net, params, views).astype(jnp.float32)


def interpolation(start: Array, length: Array, flips: Array, extent: int, size: int) -> Array:
    """Weights [B, S, extent] of bilinear sampling inside a window, mirrored where `flips` is 1."""
    places = jnp.arange(size)[None]
    places = jnp.where(flips[:, None] > 0, size - 1 - places, places)
    inside = jnp.clip((places + 0.5) * (length[:, None] / size) - 0.5, 0, length[:, None] - 1)
    return jnp.maximum(1 - jnp.abs((start[:, None] + inside)[..., None] - jnp.arange(extent)), 0)


def crop(images: Array, boxes: Array, flips: Array, size: int) -> Array:
    """Views [B, S, S, 3] in [-1, 1] of uint8 images [B, H, W, 3]."""
    batch, height, width, _ = images.shape
    rows = interpolation(boxes[:, 0], boxes[:, 2], jnp.zeros_like(flips), height, size)
    columns = interpolation(boxes[:, 1], boxes[:, 3], flips, width, size)
    tall = (rows @ images.astype(jnp.float32).reshape(batch, height, -1)).reshape(batch, size, width, 3)
    wide = columns @ tall.swapaxes(1, 2).reshape(batch, width, -1)
    return wide.reshape(batch, size, size, 3).swapaxes(1, 2) * (2 / 255) - 1


def update(work: Work, state: tuple[Params, Params, Params], frozen: Params, inputs: Params) -> tuple[Any, Array]:
    """One step: the new parameters and moments, and the loss."""
    params, first, second = state
    if "views" in inputs:
        views = inputs["views"]
        views = views.astype(jnp.float32) * (2 / 255) - 1 if views.dtype == jnp.uint8 else views
    else:
        views = crop(inputs["images"], inputs["boxes"], inputs["flips"], work.size)
    views = inputs["mix"] * views + (1 - inputs["mix"]) * jnp.roll(views, 1, 0)
    target = jax.nn.log_softmax(logits_of(work, work.teacher, frozen, views) / work.temperature)

    def loss_of(params: Params) -> Array:
        logits = logits_of(work, work.student, prepared(work.student, params), views) / work.temperature
        distance = (jnp.exp(target) * (target - jax.nn.log_softmax(logits))).sum(1)
        return distance.mean() * work.temperature**2

    loss, grads = jax.value_and_grad(loss_of)(params)
    norm = jnp.sqrt(sum(jnp.vdot(grad, grad) for grad in grads.values()))
    clip = jnp.minimum(1, work.clip_norm / norm)
    factor, correction1, correction2 = inputs["scalars"]
    grads = jax.tree.map(lambda grad: grad * clip, grads)
    first = jax.tree.map(lambda m, grad: work.b1 * m + (1 - work.b1) * grad, first, grads)
    second = jax.tree.map(lambda v, grad: work.b2 * v + (1 - work.b2) * grad * grad, second, grads)

    def moved(name: str, param: Array) -> Array:
        change = work.lr * first[name] / correction1 / (jnp.sqrt(second[name] / correction2) + work.epsilon)
        return param - factor * (change + work.weight_decay * param if name.endswith("kernel") else change)

    return ({name: moved(name, param) for name, param in params.items()}, first, second), loss


def make(work: Work, student: Arrays, teacher: Arrays, device: jax.Device) -> Step:
    """See `benchmarks.base.Make`."""
    params, frozen = jax.device_put((dict(student), dict(teacher)), device)
    frozen = jax.jit(partial(prepared, work.teacher))(frozen)
    zeros = {name: np.zeros_like(array) for name, array in student.items()}
    # Copies, since they are donated.
    state = jax.tree.map(jnp.copy, (params, *jax.device_put((zeros, dict(zeros)), device)))
    jitted = jax.jit(partial(update, work), donate_argnums=0)
    done = 0

    def step(inputs: Arrays) -> Array:
        nonlocal state, done
        scalars = np.asarray(work.scalars(done), np.float32)
        state, loss = jitted(state, frozen, jax.device_put({**inputs, "scalars": scalars}, device))
        done += 1
        return loss

    return step


def device(name: str | None, threads: int) -> jax.Device:
    """The device of a process that does nothing else; `name` as JAX knows it."""
    os.environ.setdefault("PJRT_NPROC", str(threads))
    return jax.devices(name)[0]

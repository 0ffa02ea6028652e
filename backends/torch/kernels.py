"""torch's own operations, on channels-last memory: the NHWC images are NCHW to torch, without a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from framework.kernels import Padding, pairs


def _nchw(x_bhwc: Tensor) -> Tensor:
    return x_bhwc.permute(0, 3, 1, 2)


def _nhwc(x_bchw: Tensor) -> Tensor:
    return x_bchw.permute(0, 2, 3, 1)


def _symmetric(x_bchw: Tensor, padding: Padding, value: float) -> tuple[Tensor, tuple[int, int]]:
    """The image, and the padding that is left to the operation: none where it had to be padded by hand."""
    (top, bottom), (left, right) = pairs(padding)
    if (top, left) == (bottom, right):
        return x_bchw, (top, left)
    return functional.pad(x_bchw, (left, right, top, bottom), value=value), (0, 0)


def conv2d(x_bhwc: Tensor, kernel_hwio: Tensor, stride: int = 1, padding: Padding = 0) -> Tensor:
    """See `framework.kernels.conv2d`."""
    x, rest = _symmetric(_nchw(x_bhwc), padding, 0.0)
    groups = x.shape[1] // kernel_hwio.shape[2]
    return _nhwc(functional.conv2d(x, kernel_hwio.permute(3, 2, 0, 1), None, stride, rest, 1, groups))


def group_norm(x_bhwc: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float = 1e-5) -> Tensor:
    """See `framework.kernels.group_norm`.

    On CPU torch's own takes the variance of channels-last memory as a difference of means of squares, which loses all
    digits under a large mean, and is two to three times slower than `_GroupNorm`.
    """
    if x_bhwc.device.type == "cpu" and x_bhwc.dtype in (torch.float32, torch.float64):
        return _GroupNorm.apply(x_bhwc, scale, bias, groups, epsilon)
    return _nhwc(functional.group_norm(_nchw(x_bhwc), groups, scale.reshape(-1), bias.reshape(-1), epsilon))


class _GroupNorm(torch.autograd.Function):
    """Two passes forward, and the gradient in closed form: a third of the passes that autograd would take."""

    @staticmethod
    def forward(ctx: Any, x_bhwc: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float) -> Tensor:
        share = groups / x_bhwc[0].numel()
        centred = x_bhwc - _over_groups(x_bhwc.sum((1, 2)), groups) * share
        variance = _over_groups(centred.square().sum((1, 2)), groups) * share
        inverse = torch.rsqrt(variance + epsilon)
        ctx.save_for_backward(centred, inverse, scale)
        ctx.groups, ctx.bias_shape = groups, bias.shape
        return torch.addcmul(bias.reshape(-1), centred, inverse * scale.reshape(-1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        centred, inverse, scale = ctx.saved_tensors
        share, factors = ctx.groups / centred[0].numel(), scale.reshape(-1)
        along_bc = (gradient * centred).sum((1, 2))
        sum_bc = gradient.sum((1, 2))
        through_variance = _over_groups(along_bc * factors, ctx.groups) * share * inverse**3
        through_mean = _over_groups(sum_bc * factors, ctx.groups) * share * inverse
        d_x = torch.addcmul(gradient * (inverse * factors) - through_mean, centred, through_variance, value=-1)
        d_scale = (along_bc * inverse[:, 0, 0]).sum(0).reshape(scale.shape)
        return d_x, d_scale, sum_bc.sum(0).reshape(ctx.bias_shape), None, None


def _over_groups(values_bc: Tensor, groups: int) -> Tensor:
    """The sum over each group, at each of its channels: float [B, 1, 1, C]."""
    batch, channels = values_bc.shape
    total = values_bc.reshape(batch, groups, -1).sum(2, keepdim=True)
    return total.expand(batch, groups, channels // groups).reshape(batch, 1, 1, channels)


def max_pool(x_bhwc: Tensor, size: int, stride: int, padding: Padding = 0, value: float = -torch.inf) -> Tensor:
    """See `framework.kernels.max_pool`; torch's own padding is always -inf."""
    (top, bottom), (left, right) = pairs(padding)
    x = _nchw(x_bhwc)
    if value == -torch.inf and (top, left) == (bottom, right):
        return _nhwc(functional.max_pool2d(x, size, stride, (top, left)))
    return _nhwc(functional.max_pool2d(functional.pad(x, (left, right, top, bottom), value=value), size, stride))


def global_mean(x_bhwc: Tensor) -> Tensor:
    """See `framework.kernels.global_mean`."""
    return x_bhwc.mean((1, 2))


def dense(x_bf: Tensor, kernel_fc: Tensor, bias_c: Tensor) -> Tensor:
    """See `framework.kernels.dense`."""
    return torch.addmm(bias_c, x_bf, kernel_fc)


KERNELS: dict[str, Callable[..., Any]] = {
    "conv2d": conv2d,
    "depthwise_conv2d": conv2d,
    "group_norm": group_norm,
    "max_pool": max_pool,
    "global_mean": global_mean,
    "dense": dense,
}

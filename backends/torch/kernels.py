"""torch's own operations, on channels-last memory: the NHWC images are NCHW to torch, without a copy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from backends.torch.fused import fused_norm
from framework import views
from framework.kernels import Padding, pairs

_MANY_CHANNELS, _FEW_PIXELS = 128, 16
# In standard deviations: the square of it is what a difference of means of squares loses in precision.
_LARGE_MEAN = 8.0


def channels_last(kernel_hwio: Tensor) -> Tensor:
    """The same kernel in the memory that torch's convolutions of channels-last images read: [O, h, w, I]."""
    return kernel_hwio.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last).permute(2, 3, 1, 0)


def _nchw(x_bhwc: Tensor) -> Tensor:
    return x_bhwc.permute(0, 3, 1, 2)


def _nhwc(x_bchw: Tensor) -> Tensor:
    return x_bchw.permute(0, 2, 3, 1)


def _padded(x_bchw: Tensor, padding: Padding, value: float, own: float) -> tuple[Tensor, tuple[int, int]]:
    """The image, and the padding that is left to the operation, which pads with `own` on both sides alike."""
    (top, bottom), (left, right) = pairs(padding)
    if (top, left) == (bottom, right) and value == own:
        return x_bchw, (top, left)
    return functional.pad(x_bchw, (left, right, top, bottom), value=value), (0, 0)


def conv2d(x_bhwc: Tensor, kernel_hwio: Tensor, stride: int = 1, padding: Padding = 0) -> Tensor:
    """See `framework.kernels.conv2d`."""
    x, rest = _padded(_nchw(x_bhwc), padding, 0.0, own=0.0)
    groups = x.shape[1] // kernel_hwio.shape[2]
    return _nhwc(functional.conv2d(x, kernel_hwio.permute(3, 2, 0, 1), None, stride, rest, 1, groups))


def group_norm(
    x_bhwc: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float = 1e-5, relu: bool = False
) -> Tensor:
    """See `framework.kernels.group_norm`.

    On an accelerator torch's own copies channels-last memory to another order and back: there `fused_norm` is taken. On
    CPU it takes the variance of channels-last memory as a difference of means of squares. It is two to three times
    faster than `_GroupNorm` on many channels or few pixels, and slower elsewhere; under a large mean it loses all
    digits, and then its result is not taken.
    """
    if x_bhwc.is_cuda:
        return fused_norm(x_bhwc, scale, bias, groups, epsilon, relu)
    normal = _on_cpu(x_bhwc, scale, bias, groups, epsilon)
    return functional.relu(normal) if relu else normal


def _on_cpu(x_bhwc: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float) -> Tensor:
    if x_bhwc.dtype not in (torch.float32, torch.float64):
        return _nhwc(functional.group_norm(_nchw(x_bhwc), groups, scale.reshape(-1), bias.reshape(-1), epsilon))
    batch, height, width, channels = x_bhwc.shape
    if (channels >= _MANY_CHANNELS or height * width <= _FEW_PIXELS) and not torch.compiler.is_compiling():
        affine = scale.reshape(-1), bias.reshape(-1)
        sizes = batch, channels, height * width, groups
        normal, mean, inverse = torch.native_group_norm(_nchw(x_bhwc), *affine, *sizes, epsilon)
        if float((mean * inverse).detach().abs().max()) < _LARGE_MEAN:
            return _nhwc(normal)
    return _GroupNorm.apply(x_bhwc, scale, bias, groups, epsilon)


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
    """See `framework.kernels.max_pool`."""
    x, rest = _padded(_nchw(x_bhwc), padding, value, own=-torch.inf)
    return _nhwc(functional.max_pool2d(x, size, stride, rest))


def global_mean(x_bhwc: Tensor) -> Tensor:
    """See `framework.kernels.global_mean`."""
    return x_bhwc.mean((1, 2))


def standardise(kernel_hwio: Tensor, epsilon: float = 1e-10) -> Tensor:
    """See `framework.kernels.standardise`: on `channels_last` memory, a layer norm of each output's row."""
    rows = kernel_hwio.permute(3, 0, 1, 2)
    return functional.layer_norm(rows, rows.shape[1:], eps=epsilon).permute(1, 2, 3, 0)


def dense(x_bf: Tensor, kernel_fc: Tensor, bias_c: Tensor) -> Tensor:
    """See `framework.kernels.dense`."""
    return torch.addmm(bias_c, x_bf, kernel_fc)


def crop_resize(images: Tensor, boxes: Tensor, flips: Tensor, size: int, dtype: str, beyond: bool = False) -> Tensor:
    """See `framework.views.crop_resize`: the same arithmetic in half as many operations."""
    batch, height, width, channels = images.shape
    rows = _interpolation(boxes[:, 0::2], None, height, size, beyond)
    columns = _interpolation(boxes[:, 1::2], flips, width, size, beyond)
    tall = torch.bmm(rows, images.reshape(batch, height, -1)).view(batch, size, width, channels).transpose(1, 2)
    wide = torch.bmm(columns, tall.reshape(batch, width, -1))
    return wide.view(batch, size, size, channels).transpose(1, 2)


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """See `framework.views.constant`: sent to the device once."""
    return _constant(values, like.dtype, like.device)


@cache
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def of_levels(levels: Tensor, dtype: str) -> Tensor:
    """See `framework.views.of_levels`; run one by one, a product and a difference are those of the host."""
    if torch.compiler.is_compiling():
        return views.of_levels.default(levels, dtype)
    return levels.to(torch.float32).mul_(2 / 255).sub_(1.0).to(getattr(torch, dtype))


def _interpolation(windows_b2: Tensor, flips: Tensor | None, extent: int, size: int, beyond: bool) -> Tensor:
    """Weights [B, S, extent] of bilinear sampling; `windows_b2` are start and length."""
    start, length = windows_b2[:, :1], windows_b2[:, 1:]
    centres = torch.arange(size, dtype=start.dtype, device=start.device) + 0.5
    if flips is not None:
        centres = torch.where(flips[:, None] > 0, size - centres, centres)
    inside = centres * (length / size) - 0.5
    first, last = (-start, extent - 1.0 - start) if beyond else (0.0, length - 1.0)
    inside = inside.clamp(min=first).minimum(last)
    pixels = torch.arange(extent, dtype=start.dtype, device=start.device) - start
    return (inside[:, :, None] - pixels[:, None, :]).abs_().neg_().add_(1.0).clamp_min_(0.0)


KERNELS: dict[str, Callable[..., Any]] = {
    "conv2d": conv2d,
    "depthwise_conv2d": conv2d,
    "group_norm": group_norm,
    "max_pool": max_pool,
    "global_mean": global_mean,
    "standardise": standardise,
    "dense": dense,
    "crop_resize": crop_resize,
    "of_levels": of_levels,
    "constant": constant,
}

"""Group normalisation on channels-last memory as one compiled program for each shape, forward and backward.

Torch's own kernel copies such memory to another order and back, which took half of a large net's step on a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

Norm = Callable[..., Tensor]


# Whether the process compiles programs at all.
now = SimpleNamespace(compiles=True)


def norm(x_bhwc: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float, relu: bool) -> Tensor:
    """See `framework.kernels.group_norm`: in plain operations, with statistics in float32 at least."""
    batch, height, width, channels = x_bhwc.shape
    wide = torch.promote_types(x_bhwc.dtype, torch.float32)
    x = x_bhwc.to(wide).reshape(batch, height * width, groups, channels // groups)
    variance, mean = torch.var_mean(x, dim=(1, 3), correction=0, keepdim=True)
    normal = ((x - mean) * torch.rsqrt(variance + epsilon)).reshape(x_bhwc.shape)
    result = (normal * scale.reshape(-1).to(wide) + bias.reshape(-1).to(wide)).to(x_bhwc.dtype)
    return torch.relu(result) if relu else result


def fused_norm(x_bhwc: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float, relu: bool) -> Tensor:
    """As `norm`, compiled where something compiles here; within a program that is being compiled, a part of it."""
    if torch.compiler.is_compiling() or not now.compiles:
        return norm(x_bhwc, scale, bias, groups, epsilon, relu)
    learns = torch.is_grad_enabled() and (x_bhwc.requires_grad or scale.requires_grad)
    program = _program(x_bhwc.shape, x_bhwc.dtype, scale.dtype, x_bhwc.device, groups, relu, learns)
    try:
        return program(x_bhwc, scale, bias, groups, epsilon, relu)
    except torch._dynamo.exc.TorchDynamoException as error:
        now.compiles = False
        reason = str(error).strip().splitlines()[0]
        print(f"hint: nothing can be compiled for this device, which is slower: {reason}", file=sys.stderr, flush=True)
        return norm(x_bhwc, scale, bias, groups, epsilon, relu)


@cache
def _program(*key: Any) -> Norm:
    """A function of its own for each kind of call: torch would look through all programs of one function each time."""
    own = FunctionType(norm.__code__.replace(co_name=f"norm{_program.cache_info().currsize}"), norm.__globals__)
    return torch.compile(own, dynamic=False, fullgraph=True)

"""Arrays and tensors: the way from numpy to a device and back, and how kernels lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch

from backends.state import mapped
from backends.torch.kernels import channels_last
from framework.protocols import Array

Tensor: TypeAlias = torch.Tensor
# Bytes for which pinning takes longer than the copy.
_SMALL = 2**16


def lay_out(model: Any) -> None:
    """Bring a model's convolution kernels into `channels_last` memory; what they are stays."""
    for variable in model.variables:
        parameter = variable.value
        if parameter.ndim == 4:
            parameter.data = channels_last(parameter.data)


def read(array: Array | Tensor) -> Tensor:
    """The tensor of a numpy array, in its memory where torch knows its dtype."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.as_tensor(array)


def like(param: Tensor, tensor: Tensor) -> Tensor:
    """A tensor in a parameter's memory layout."""
    return torch.empty_like(param, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def array_of(tensor: Tensor) -> Array:
    """A tensor as a numpy array of its own."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return tensor.numpy().copy()


def all_reduced(values: Sequence[Tensor]) -> Sequence[Tensor]:
    """Each tensor's sum over all processes, written into it; one call for all of a dtype."""
    for dtype in {value.dtype: None for value in values}:
        own = [value for value in values if value.dtype == dtype]
        flat = torch.cat([value.reshape(-1) for value in own])
        torch.distributed.all_reduce(flat)
        sums = flat.split([value.numel() for value in own])
        torch._foreach_copy_(own, [each.view(value.shape) for each, value in zip(sums, own, strict=True)])
    return values


class Sender:
    """Brings arrays to a card, on a stream of its own: there the copies don't wait for the steps that are queued."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._copies = device, torch.cuda.Stream(device)

    def __call__(self, tree: Any) -> Any:
        """Numpy arrays in lists and dictionaries, as tensors."""
        now = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            sent = mapped(self._sent, tree)
        now.wait_stream(self._copies)
        # Its memory is free again only when the steps that read it have ended.
        mapped(lambda tensor: tensor.record_stream(now), sent)
        return sent

    def _sent(self, array: Array | Tensor) -> Tensor:
        """Out of pinned memory the card copies by itself; what is small has no need of it."""
        tensor = read(array)
        large = not tensor.is_cuda and tensor.nbytes > _SMALL
        return (tensor.pin_memory() if large else tensor).to(self._device, non_blocking=True)

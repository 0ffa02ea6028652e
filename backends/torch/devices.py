"""Accelerators, threads and precision under PyTorch."""

from __future__ import annotations

import os

import torch
from keras.src.backend.torch import core

from backends import precision as policy
from backends.base import Device, Settings
from backends.devices import match
from framework.errors import UserError


def configure(settings: Settings) -> Device:
    """See `backends.base.Settings`."""
    if settings.deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)
    if settings.cache is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(settings.cache / "torch"))
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.tf32
    policy.apply(settings.precision)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = match(settings.device, [*(f"gpu:{index}" for index in range(count)), "cpu:0"], {"gpu": "torch"})
    kind, _, number = name.partition(":")
    index = int(number)
    # Keras makes its constants and variables there, in every thread. Its own setting is one thread's, and lost with the
    # names; this one is private: a test fails when it moves.
    core.DEFAULT_DEVICE = "cpu" if kind == "cpu" else f"cuda:{index}"
    if kind == "cpu":
        return Device(kind, name, "cpu", torch.get_num_threads(), torch.device("cpu"))
    try:
        free, _ = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        # A card that is full has no room for what CUDA itself needs.
        raise UserError(f"device = {name!r} can't be used: {str(error).splitlines()[0]}") from error
    return Device(kind, name, torch.cuda.get_device_name(index), None, torch.device("cuda", index), free)


def peak_memory(device: Device) -> int | None:
    """See `backends.base.Backend`."""
    return torch.cuda.max_memory_allocated(device.handle) if device.kind == "gpu" else None

"""Accelerators, threads and precision under PyTorch."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from keras.src.backend.torch import core

from backends import precision as policy
from backends.base import Device, Settings
from backends.devices import match
from framework.errors import UserError
from framework.world import World


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
    if settings.devices not in (None, 1):
        raise UserError(
            f"devices = {settings.devices}: on torch a process has one device; start one for each, "
            "`torchrun --nproc-per-node N -m experiments.run ...`"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = match(settings.device, [*(f"gpu:{index}" for index in range(count)), "cpu:0"], {"gpu": "torch"})
    kind, _, number = name.partition(":")
    index = int(number)
    if settings.world.size > 1:
        if kind == "gpu" and ":" not in (settings.device or ""):
            # Launchers that show each process one card alone count it as the first.
            index = settings.world.local_rank % count
            name = f"gpu:{index}"
        _join(settings.world, kind)
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


def _join(world: World, kind: str) -> None:
    """Meet the other processes, where the first of them says."""
    if dist.is_initialized():
        return
    place = world.gather(world.free_address())[0]
    if kind == "gpu":
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
    host, _, port = place.rpartition(":")
    patience = timedelta(seconds=world.patience)
    # Of its own: torch's rendezvous would take the launcher's, which is another place.
    store = dist.TCPStore(host, int(port), world.size, is_master=world.rank == 0, timeout=patience)
    dist.init_process_group(
        "nccl" if kind == "gpu" else "gloo", store=store, rank=world.rank, world_size=world.size, timeout=patience
    )


def peak_memory(device: Device) -> int | None:
    """See `backends.base.Backend`."""
    return torch.cuda.max_memory_allocated(device.handle) if device.kind == "gpu" else None

"""Accelerators, threads and precision under PyTorch."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from backends import precision as policy
from backends.base import Device
from backends.devices import match
from framework.spec import Precision


def configure(
    device: str | None,
    threads: int | None,
    precision: Precision,
    cache: Path | None = None,
    tf32: bool = False,
    deterministic: bool = False,
) -> Device:
    """Choose the device for the process: an accelerator where there is one.

    Args:
        device: `cpu`, `gpu` or `gpu:1`; None takes the best.
        threads: CPU threads; None takes all cores.
        precision: of the models to be built.
        cache: where `torch.compile` keeps its programs; `TORCHINDUCTOR_CACHE_DIR` goes before it.
        tf32: multiply float32 in TensorFloat-32 where the accelerator has it; exactly otherwise.
        deterministic: take algorithms that give the same bits each time, and refuse operations that have none.
    """
    if deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)
    if cache is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "torch"))
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    policy.apply(precision)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = match(device, [*(f"gpu:{index}" for index in range(count)), "cpu:0"], {"gpu": "torch"})
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return Device(kind, name, "cpu", torch.get_num_threads(), torch.device("cpu"))
    index = int(number)
    free, _ = torch.cuda.mem_get_info(index)
    return Device(kind, name, torch.cuda.get_device_name(index), None, torch.device("cuda", index), free)

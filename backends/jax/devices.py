"""Accelerators, threads and precision under JAX."""

from __future__ import annotations

import os

import jax

from backends import precision as policy
from backends.base import Device
from backends.devices import match
from framework.spec import Precision


def configure(device: str | None, threads: int | None, precision: Precision) -> Device:
    """Choose the device for the process: an accelerator where there is one.

    Args:
        device: `cpu`, `gpu`, `tpu` or one of them with a number, `gpu:1`; None takes the best.
        threads: CPU threads: the process is bound to that many cores, since XLA has no other way; None takes all.
        precision: of the models to be built.
    """
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    jax.config.update("jax_enable_x64", precision == "float64")
    jax.config.update("jax_default_matmul_precision", "highest" if precision in ("float32", "float64") else None)
    policy.apply(precision)
    found = {f"{_kind(each)}:{each.id}": each for each in [*_devices("gpu"), *_devices("tpu"), *_devices("cpu")]}
    name = match(device, found)
    chosen = found[name]
    kind = _kind(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Device(kind, name, chosen.device_kind, cores if kind == "cpu" else None, chosen)


def _kind(device: jax.Device) -> str:
    return {"cuda": "gpu", "rocm": "gpu"}.get(device.platform, device.platform)


def _devices(platform: str) -> list[jax.Device]:
    try:
        return jax.local_devices(backend=platform)
    except RuntimeError:
        return []
